//! The machine below: systemd today, instance metadata, identity and scheduled events next
