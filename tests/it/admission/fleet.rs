//! Instances that share the connections of a server.
