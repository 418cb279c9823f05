//! The way to Redis: dialling with TLS and AUTH, the one control connection and the monitor that keeps it up, and what an error
//! means. Opens TCP connections; reads the password file at each.

mod dialer;
mod error;
mod monitor;

pub(crate) use dialer::{Dialer, SetupError};
pub(crate) use error::{ConnectError, UpstreamError};
pub(crate) use monitor::{Link, Monitor};
