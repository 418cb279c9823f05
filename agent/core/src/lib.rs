//! The vocabulary every part of Lamplighter shares: lifecycle, health board, faults, units, net, tls, telemetry, secrets
