//! `lamplighter run`: from the file to a running agent, and from its end to an exit code.

use std::process::ExitCode;
use std::time::Duration;

use lamplighter_core::fault::chain;
use lamplighter_core::telemetry;

use super::{AGAIN, FAILED, RunArgs, USAGE, complain, complain_all};
use crate::app::{self, App, Left};
use crate::config;

/// Cores that the data plane uses at most: an agent leaves the rest to the application.
const WORKERS_MAX: usize = 4;

/// How long what still runs on other threads may take once the agent has left.
const ENDING_MAX: Duration = Duration::from_millis(500);

pub(super) fn run(args: &RunArgs) -> ExitCode {
    let path = &args.file.config;
    // a service that is enabled in an image starts before anybody has written its file; on a shell a missing file is a mistake
    let waits = std::env::var_os("NOTIFY_SOCKET").is_some() && config::is_blank(path);
    let loaded = if waits {
        config::blank(path)
    } else {
        match config::load(path) {
            Ok(loaded) => loaded,
            Err(problems) => return complain_all(&problems),
        }
    };
    let wanted = &loaded.config.telemetry;
    let format = args.log_format.unwrap_or(wanted.log_format);
    let filter = args.log_filter.as_ref().unwrap_or(&wanted.log_filter);
    if let Err(error) = telemetry::init(format, filter) {
        complain(format_args!("error: {}", chain(&error)));
        return ExitCode::from(USAGE);
    }
    app::harden_process();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(WORKERS_MAX))
        .thread_name("lamplighter")
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed("cannot start the runtime", &error),
    };
    let code = runtime.block_on(async {
        let app = if waits {
            App::build_waiting(&loaded).await
        } else {
            App::build(&loaded).await
        };
        let app = match app {
            Ok(app) => app,
            Err(error) => return failed("cannot start", &error),
        };
        match app.run().await {
            Ok(Left::Asked) => ExitCode::SUCCESS,
            Ok(Left::Configured) => ExitCode::from(AGAIN),
            Err(fault) => failed("left because of a fault", &fault),
        }
    });
    // a name that does not resolve may hold a thread for long; nobody waits for it
    runtime.shutdown_timeout(ENDING_MAX);
    code
}

fn failed(what: &str, error: &(dyn std::error::Error + 'static)) -> ExitCode {
    tracing::error!("{what}: {}", chain(error));
    ExitCode::from(FAILED)
}
