//! MySQL Router with connection sharing: the peer that benches compare the agent with.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use super::mysql::Cluster;
use super::process::Process;
use super::scratch::Scratch;
use super::{ports, programs};

const START: Duration = Duration::from_secs(20);

/// A Router in front of a cluster's primary: clients may use TLS, the server side does, and connections are shared between
/// clients from the first idle moment.
#[derive(Debug)]
pub(crate) struct Router {
    process: Process,
    port: u16,
    scratch: Scratch,
}

impl Router {
    /// Starts it and returns when it listens.
    pub(crate) fn start(cluster: &Cluster) -> Self {
        Self::in_front_of(cluster, &cluster.address(cluster.primary()))
    }

    /// As [`Self::start`], but to the primary by another address.
    pub(crate) fn in_front_of(cluster: &Cluster, address: &str) -> Self {
        let scratch = Scratch::new("router");
        let port = ports::free();
        let certificate = cluster.authority().issue("router");
        let conf = format!(
            "[DEFAULT]\nlogging_folder=\nplugin_folder={}\nruntime_folder={dir}\ndata_folder={dir}\nconfig_folder={dir}\n\
             max_total_connections=10000\nclient_ssl_cert={}\nclient_ssl_key={}\n[logger]\nlevel=WARNING\n[io]\nthreads=2\n\
             [connection_pool]\nmax_idle_server_connections=64\nidle_timeout=60\n\
             [routing:share]\nbind_address=127.0.0.1\nbind_port={port}\nsocket={dir}/s\ndestinations={}\n\
             routing_strategy=first-available\nprotocol=classic\nmax_connections=10000\nmax_connect_errors=1000000\n\
             client_connect_timeout=30\nclient_ssl_mode=PREFERRED\nserver_ssl_mode=REQUIRED\nserver_ssl_verify=VERIFY_CA\n\
             server_ssl_ca={}\nconnection_sharing=1\nconnection_sharing_delay=0\n",
            programs::find_cached("mysql9/root/usr/lib/mysqlrouter/plugin", "mysql").display(),
            certificate.cert.display(),
            certificate.key.display(),
            address,
            cluster.ca_path().display(),
            dir = scratch.path().display(),
        );
        let mut command = Command::new(programs::find_cached("mysql9/bin/mysqlrouter", "mysql"));
        command.arg("-c").arg(scratch.write("router.conf", conf));
        if rustix::process::geteuid().is_root() {
            command.arg("--user=root");
        }
        let mut process = Process::spawn("router", &mut command, &scratch.join("router.log"));
        let socket = scratch.join("s");
        process.wait_ready(START, || std::os::unix::net::UnixStream::connect(&socket));
        Self {
            process,
            port,
            scratch,
        }
    }

    /// The TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.scratch.join("s")
    }

    /// The process id, to read its memory.
    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }
}
