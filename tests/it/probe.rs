//! What the load balancer and Application Health are told, by the real agent in front of a real web server.

pub(crate) mod application_health;
mod connections;
mod restart;

use std::time::{Duration, Instant};

use application_health::{Extension, State};

use crate::support::agent::{Agent, Builder, wait_status};
use crate::support::http::{self, Response};
use crate::support::web::Apache;
use crate::support::{poll, ports};

/// Far more than anything here takes on a busy machine.
const SOON: Duration = Duration::from_secs(20);

/// An agent of `[health]` alone, and where it listens.
pub(crate) struct Probed {
    pub(crate) agent: Agent,
    pub(crate) probe: String,
    pub(crate) metrics: String,
    config: String,
}

impl Probed {
    /// Starts it with `more` keys of `[health]` and tables after it; does not wait.
    pub(crate) fn start(builder: Builder, more: &str) -> Self {
        let [probe, metrics, admin] = [(); 3].map(|()| format!("127.0.0.1:{}", ports::free()));
        let config = format!(
            "[state]\ndir = \"{{dir}}/state\"\n[health]\nlisten = \"{probe}\"\nmetrics_listen = \"{metrics}\"\n\
             admin_listen = \"{admin}\"\nadmin_socket = \"{{dir}}/admin.sock\"\nruntime_dir = \"{{dir}}/run\"\n{more}\n"
        );
        Self {
            agent: builder.start(&config),
            probe,
            metrics,
            config,
        }
    }

    /// Starts it, with a check of `web` if there is one, and waits until it serves.
    pub(crate) fn serving(web: Option<&Apache>, more: &str) -> Self {
        let table = web.map_or_else(String::new, |web| {
            format!("\n[health.web]\nurl = \"{}\"\n", web.url("/healthz.php"))
        });
        let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
        let mut probed = Self::start(builder, &format!("{more}{table}"));
        probed.agent.wait_ready(SOON);
        wait_status(SOON, &probed.probe, "/lb", 200);
        probed
    }

    pub(crate) fn ask(&self, path: &str) -> Result<Response, String> {
        http::get(&self.probe, path)
    }

    /// How Application Health reads the answer it gets now.
    pub(crate) fn state(&self) -> State {
        let answer = self.ask("/health/azure").ok();
        application_health::read(answer.as_ref().map(|it| (it.status, &*it.body)))
    }

    /// Waits until `/lb` answers with `status`, and says how long that took.
    #[track_caller]
    pub(crate) fn wait(&self, status: u16) -> Duration {
        self.wait_within(SOON, status)
    }

    /// As [`Self::wait`], within `deadline`.
    #[track_caller]
    pub(crate) fn wait_within(&self, deadline: Duration, status: u16) -> Duration {
        let start = Instant::now();
        wait_status(deadline, &self.probe, "/lb", status);
        start.elapsed()
    }

    /// One of the agent's own commands against this agent.
    #[track_caller]
    pub(crate) fn command(&self, name: &str) {
        let config = self.agent.config_path();
        let config = config.to_str().expect("a path in UTF-8");
        let (status, out, err) = self.agent.command(&[name, "--config", config]);
        assert!(status.success(), "{name}: {out}{err}");
    }
}

fn web() -> Apache {
    Apache::builder()
        .file("healthz.php", "<?php echo 'up';")
        .start()
}

#[test]
fn a_first_start_is_initializing_then_healthy() {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let url = format!("http://127.0.0.1:{}/healthz.php", ports::free());
    let mut probed = Probed::start(builder, &format!("[health.web]\nurl = \"{url}\""));
    let mut extension = Extension::new(1, Duration::from_secs(600));
    let second = Duration::from_secs(1);
    assert_eq!(
        extension.observe(probed.state(), second),
        State::Initializing
    );
    probed.agent.wait_ready(SOON);
    assert_eq!(
        extension.observe(probed.state(), 2 * second),
        State::Initializing
    );
    let answer = wait_status(SOON, &probed.probe, "/lb", 503);
    assert!(answer.starts_with("web: "), "{answer}");

    let web = web();
    probed
        .agent
        .write_config(&probed.config.replace(&url, &web.url("/healthz.php")));
    assert!(probed.agent.stop().0.success());
    probed.agent.restart();
    probed.wait(200);
    assert_eq!(
        extension.observe(probed.state(), 9 * second),
        State::Healthy
    );
}

#[test]
fn an_agent_that_cannot_run_is_unknown_once_the_grace_is_over() {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let mut probed = Probed::start(builder, "lisen = \"127.0.0.1:1\"");
    let start = Instant::now();
    let status = probed.agent.wait_end(SOON);
    assert_eq!(status.code(), Some(64), "{}", probed.agent.log());
    eprintln!("bad configuration: ended after {:?}", start.elapsed());
    let mut extension = Extension::new(2, Duration::from_secs(30));
    let second = Duration::from_secs(1);
    assert_eq!(probed.state(), State::Unknown);
    assert_eq!(
        extension.observe(probed.state(), 5 * second),
        State::Initializing
    );
    assert_eq!(
        extension.observe(probed.state(), 30 * second),
        State::Unknown
    );
}

#[test]
fn a_taken_probe_port_ends_the_start_and_names_the_holder() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let mut agent = Agent::builder(env!("CARGO_BIN_EXE_lamplighter")).start(&format!(
        "[health]\nlisten = \"127.0.0.1:{port}\"\nruntime_dir = \"{{dir}}\"\nadmin_socket = \"{{dir}}/admin.sock\"\n"
    ));
    let start = Instant::now();
    assert_eq!(agent.wait_end(SOON).code(), Some(1), "{}", agent.log());
    eprintln!("taken port: ended after {:?}", start.elapsed());
    let log = agent.log();
    let holder = format!("(pid {})", std::process::id());
    assert!(
        log.contains("health: listen") && log.contains(&holder),
        "{log}"
    );
}

/// Something done to the web server.
type Act = fn(&Apache);

#[test]
fn a_web_server_that_dies_hangs_or_loses_php_costs_the_traffic_only() {
    let web = web();
    let probed = Probed::serving(Some(&web), "");
    let trouble: [(&str, Act, Act); 4] = [
        ("apache dead", Apache::stop, Apache::start),
        ("apache hanging", Apache::hang, Apache::thaw),
        ("php dead", Apache::stop_fpm, Apache::start_fpm),
        ("php hanging", Apache::hang_fpm, Apache::thaw_fpm),
    ];
    for (name, begin, end) in trouble {
        begin(&web);
        let down = probed.wait(503);
        let answer = probed.ask("/lb").expect("an answer");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(
            answer.text().starts_with("web: "),
            "{name}: {}",
            answer.text()
        );
        assert_eq!(probed.state(), State::Healthy, "{name}");
        end(&web);
        let up = probed.wait(200);
        eprintln!("{name}: out after {down:?}, back after {up:?}");
    }
}

#[test]
fn a_web_server_that_stays_away_costs_the_machine_after_the_bound() {
    let web = web();
    let policy = "policy = { shed_after = \"1s\", unhealthy_after = \"3s\" }";
    let probed = Probed::serving(Some(&web), policy);
    assert_eq!(probed.state(), State::Healthy);
    web.stop();
    probed.wait(503);
    poll::until(SOON, "Unhealthy", || probed.state() == State::Unhealthy);
    let answer = probed.ask("/health/azure").expect("an answer");
    assert_eq!(answer.status, 200, "503 would be read as Unknown");
    web.start();
    probed.wait(200);
    poll::until(SOON, "Healthy", || probed.state() == State::Healthy);
}

#[test]
fn a_mysql_that_is_away_for_everyone_costs_nothing() {
    let port = ports::free();
    let mysql = format!(
        "[mysql]\nlisten = [\"unix:{{dir}}/mysql.sock\"]\nprimary = \"127.0.0.1:{port}\"\nuser = \"app\"\n\
         password_file = \"{{dir}}/password\"\ntls = {{ enabled = false }}\n[mysql.clients.web]\npeer_users = [\"root\"]\n"
    );
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    builder.secret("password", "x");
    let mut probed = Probed::start(builder, &mysql);
    probed.agent.wait_ready(SOON);
    probed.wait(200);
    let degraded = poll::until(SOON, "X-Degraded", || {
        let answer = probed.ask("/lb")?;
        let names = answer.header("x-degraded").map(str::to_owned);
        names.ok_or_else(|| format!("{} without the header", answer.status))
    });
    assert!(degraded.contains("mysql"), "{degraded}");
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
    assert_eq!(probed.state(), State::Healthy);
    let rows = probed.ask("/readyz?verbose").expect("an answer").text();
    assert!(rows.contains("[!] mysql"), "{rows}");
}

#[test]
fn a_drain_command_sheds_until_it_is_taken_back() {
    let probed = Probed::serving(None, "");
    probed.command("drain");
    assert_eq!(probed.ask("/lb").expect("an answer").status, 503);
    assert_eq!(
        probed.state(),
        State::Healthy,
        "it leaves anyway: no repair"
    );
    assert_eq!(probed.ask("/livez").expect("an answer").status, 200);
    probed.command("undrain");
    probed.wait(200);
}
