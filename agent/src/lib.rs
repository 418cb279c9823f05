//! Lamplighter: the agent binary and its thin wiring.
