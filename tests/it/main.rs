//! Integration tests: the whole agent on real servers.
