//! Azure's instance metadata service: a strict fake (`imds.py`) in a process of its own, told through a unix socket what to say and
//! how to fail.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::{Value, json};

use super::process::Process;
use super::scratch::Scratch;
use super::{http, ports, programs};

const START: Duration = Duration::from_secs(60);

/// The running service.
#[derive(Debug)]
pub(crate) struct Imds {
    process: Mutex<Option<Process>>,
    address: String,
    control: PathBuf,
    scratch: Scratch,
}

impl Imds {
    /// Starts it on a free port; this machine is the scale set's `web_0`.
    pub(crate) fn start() -> Self {
        Self::start_at(&format!("127.0.0.1:{}", ports::free()), &[])
    }

    /// Starts it on `address`, by `prefix` (for example `ip netns exec NAME`) if that is not empty.
    pub(crate) fn start_at(address: &str, prefix: &[&str]) -> Self {
        let scratch = Scratch::new("imds");
        let control = scratch.path().join("control");
        let imds = Self {
            process: Mutex::new(None),
            address: address.to_owned(),
            control,
            scratch,
        };
        imds.run(prefix);
        imds
    }

    fn run(&self, prefix: &[&str]) {
        let python = programs::find("python3", "base");
        let script = programs::tests_dir().join("support/imds.py");
        let mut words: Vec<std::ffi::OsString> = prefix.iter().map(Into::into).collect();
        words.extend([python.into(), script.into()]);
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .args(["--listen", &self.address, "--control"])
            .arg(&self.control);
        let log = self.scratch.path().join("imds.log");
        let mut process = Process::spawn("imds", &mut command, &log);
        process.wait_ready(START, || {
            http::get(&self.control_address(), "/journal").map(|_| ())
        });
        *self.process.lock().unwrap() = Some(process);
    }

    /// Where the agent finds it: `http://127.0.0.1:PORT`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port it listens on.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn control_address(&self) -> String {
        format!("unix:{}", self.control.display())
    }

    #[track_caller]
    fn tell(&self, path: &str, what: &Value) -> Value {
        let body = what.to_string();
        let answer = http::request(&self.control_address(), "POST", path, &[], body.as_bytes())
            .expect("the fake listens to its control socket");
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// Changes settings; see the head of `imds.py`.
    #[track_caller]
    pub(crate) fn set(&self, settings: &Value) {
        self.tell("/set", settings);
    }

    /// This machine is `name`, with the id `vm_id`.
    #[track_caller]
    pub(crate) fn name_machine(&self, name: &str, vm_id: &str) {
        self.name_machine_of("web", name, vm_id);
    }

    /// As [`Self::name_machine`], in another scale set.
    #[track_caller]
    pub(crate) fn name_machine_of(&self, scale_set: &str, name: &str, vm_id: &str) {
        self.set(&json!({"instance": {
            "vmId": vm_id, "name": name, "vmScaleSetName": scale_set, "location": "westeurope", "zone": "1",
        }}));
    }

    /// Announces an event of `kind` for `machines`, which begins by itself in `seconds`.
    #[track_caller]
    pub(crate) fn announce(&self, id: &str, kind: &str, machines: &[&str], seconds: u32) {
        self.event(&json!({"id": id, "type": kind, "resources": machines, "in": seconds}));
    }

    /// Announces an event with everything said.
    #[track_caller]
    pub(crate) fn event(&self, event: &Value) {
        self.tell("/event", event);
    }

    /// The event is over, or cancelled.
    #[track_caller]
    pub(crate) fn take_off(&self, id: &str) {
        self.tell("/drop", &json!({"id": id}));
    }

    /// Every request so far, as `imds.py` notes it.
    #[track_caller]
    pub(crate) fn journal(&self) -> Vec<Value> {
        let answer = http::get(&self.control_address(), "/journal").expect("the journal");
        serde_json::from_slice(&answer.body).expect("a list")
    }

    /// How many requests of `endpoint` ended with `status`.
    pub(crate) fn count(&self, endpoint: &str, status: u16) -> usize {
        let fits = |it: &&Value| {
            it["endpoint"] == endpoint && it["status"].as_u64() == Some(status.into())
        };
        self.journal().iter().filter(fits).count()
    }

    /// The ids that were acknowledged, with success, in order.
    pub(crate) fn acknowledged(&self) -> Vec<String> {
        let journal = self.journal();
        let posts = journal.iter().filter(|it| {
            it["method"] == "POST" && it["endpoint"] == "events" && it["status"] == 200
        });
        let ids = posts.flat_map(|it| {
            let body: Value =
                serde_json::from_str(it["body"].as_str().unwrap_or_default()).unwrap_or_default();
            let requests = body["StartRequests"]
                .as_array()
                .cloned()
                .unwrap_or_default();
            requests
                .into_iter()
                .map(|it| it["EventId"].as_str().unwrap_or_default().to_owned())
        });
        ids.collect()
    }

    /// Ends it: nobody listens there any more.
    pub(crate) fn stop(&self) {
        drop(self.process.lock().unwrap().take());
    }

    /// Starts it again at the same place, with its settings as at first.
    pub(crate) fn start_again(&self) {
        self.run(&[]);
    }
}
