//! Lamplighter: the agent binary and its thin wiring.
//!
//! | module | what it holds |
//! |---|---|
//! | [`cli`] | the commands, their help and their exit codes |
//! | [`config`] | the configuration file as a whole, every problem by file and line |
//! | [`app`] | the only place that knows every subsystem: builds them, wires them, hands them to the supervisor |

pub mod app;
pub mod cli;
pub mod config;
