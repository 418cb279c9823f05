//! A proxy in front of Azurite that gives lists in small pages and can hold back the later ones (`storage_pages.py`).

use std::process::Command;
use std::time::Duration;

use super::azurite::{self, ACCOUNT};
use super::process::Process;
use super::scratch::Scratch;
use super::{ports, programs};

/// The running proxy.
#[derive(Debug)]
pub(crate) struct StoragePages {
    process: Process,
    port: u16,
    scratch: Scratch,
}

impl StoragePages {
    /// Starts it in front of `storage`, which speaks TLS, as the proxy does with the same certificate; later pages are held back.
    pub(crate) fn start(storage: &azurite::Server, page: u32) -> Self {
        let scratch = Scratch::new("pages");
        let certificate = storage.certificate();
        let port = ports::free();
        scratch.write("hold", "");
        let mut command = Command::new(programs::find("python3", "base"));
        command
            .arg(programs::tests_dir().join("support/storage_pages.py"))
            .args(["--listen", &port.to_string()])
            .args(["--server", &storage.port().to_string()])
            .args(["--page", &page.to_string()])
            .arg("--cert")
            .arg(&certificate.cert)
            .arg("--key")
            .arg(&certificate.key)
            .arg("--ca")
            .arg(storage.ca_path())
            .arg("--hold")
            .arg(scratch.join("hold"))
            .arg("--journal")
            .arg(scratch.join("journal"));
        let log = scratch.join("pages.log");
        let mut process = Process::spawn("pages", &mut command, &log);
        process.wait_ready(Duration::from_secs(20), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).map(drop)
        });
        Self {
            process,
            port,
            scratch,
        }
    }

    /// The URL of a container by way of the proxy.
    pub(crate) fn container_url(&self, container: &str) -> String {
        format!("https://127.0.0.1:{}/{ACCOUNT}/{container}", self.port)
    }

    /// Later pages are given from now on.
    pub(crate) fn release(&self) {
        std::fs::remove_file(self.scratch.join("hold")).expect("later pages are held back");
    }

    /// What was asked and answered so far; see the head of `storage_pages.py`.
    pub(crate) fn journal(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.scratch.join("journal")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}
