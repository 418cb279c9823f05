//! The vocabulary every part of Lamplighter shares; it depends on no other crate of ours.
//!
//! | module | what it holds |
//! |---|---|
//! | [`lifecycle`] | phases, the supervisor, what a subsystem is given to live in, heartbeats |
//! | [`health`] | the board on which every subsystem writes its own condition |
//! | [`fault`] | whose fault something is and whether trying again may help |
//! | [`identity`] | tokens of the platform's identity provider, from who fetches them to who shows them |
//! | [`instance`] | which machine this is |
//! | [`fleet`] | what the instances know of one another |
//! | [`units`] | durations, sizes and percentages that carry their unit |
//! | [`load`] | how much MySQL has to do, for those who make work of their own accord |
//! | [`ask`] | questions from the admin socket to a subsystem |
//! | [`config`] | what a configuration problem looks like, and where secrets are found |
//! | [`net`] | listening (also on inherited sockets), accepting, dialling |
//! | [`tls`] | the one TLS client, with a CA that can be read again |
//! | [`metrics`] | registering series under the right name |
//! | [`telemetry`] | logs |
//! | [`views`] | questions to a running agent, answered by its parts |
//! | [`secret`] | bytes that cannot be printed |

pub mod ask;
pub mod config;
pub mod fault;
pub mod fleet;
pub mod health;
pub mod identity;
pub mod instance;
pub mod lifecycle;
pub mod load;
pub mod metrics;
pub mod net;
pub mod secret;
pub mod telemetry;
pub mod tls;
pub mod units;
pub mod views;
pub mod writes;
