//! The probe, the admin interface and the verdicts behind them.
//!
//! The life of a probe: a thread of its own accepts it (`http.rs`), a handler (`probe.rs`) picks up the answer that lies ready
//! and sends it. The answer was made (`answer.rs`) when the verdict last changed: `judge.rs` looks at the phase, the health
//! board, the web check (`web.rs`) and the heartbeats, and has [`verdict`] decide. Nothing is asked of anybody while a prober
//! waits.
//!
//! | module | what it holds |
//! |---|---|
//! | [`config`] | the `[health]` table |
//! | [`verdict`] | the policy, as a pure function; its table |
//! | `locality` | whether a fault is this machine's alone: what proves it |
//! | `judge` | when it is decided again; the mark of the first `Healthy` |
//! | `answer` | verdicts as HTTP answers |
//! | `probe` | `/lb`, `/health/azure`, `/livez`, `/readyz`, `/metrics` |
//! | `admin`, [`status`] | the status page, its JSON, the commands |
//! | `http` | connections: limits, idling, who makes room |
//! | `web` | the check of the local web server |
//! | `balancer` | whether a load balancer is looking, so how long to shed |
//! | `server` | the subsystem and its thread |

mod admin;
mod answer;
mod balancer;
pub mod config;
mod http;
mod judge;
mod locality;
mod marker;
mod metrics;
mod probe;
mod server;
pub mod status;
pub mod verdict;
pub mod web;

pub use admin::{CommandOutcome, ReloadReply};
pub use balancer::LastProbe;
pub use config::Config;
pub use server::{Health, Links, StartError};
pub use status::{BuildInfo, Status};

use lamplighter_core::config::OnlineCheck;

/// Gets the local web server's page once, for `lamplighter check --online`.
pub async fn probe(config: &Config) -> Vec<OnlineCheck> {
    let Some(web) = &config.web else {
        return Vec::new();
    };
    let start = std::time::Instant::now();
    let outcome = match web::check_once(web).await {
        Ok(()) => Ok(format!(
            "answers {} in {} ms",
            web.expect_status,
            start.elapsed().as_millis()
        )),
        Err(failure) => Err(format!(
            "{failure}; see the log of the web server, and get {} on this machine",
            web.url
        )),
    };
    vec![OnlineCheck {
        what: "web server".to_owned(),
        target: web.url.to_string(),
        outcome,
    }]
}
