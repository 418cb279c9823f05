//! Apache with php-fpm, as on an instance: workers and PHP run as `www-data` when the test runs as root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::http::{self, Response};
use super::process::Process;
use super::scratch::Scratch;
use super::{poll, ports, programs};

const START: Duration = Duration::from_secs(20);

/// Where Debian keeps Apache's modules.
const MODULES: &str = "/usr/lib/apache2/modules";

/// What to start. See [`Apache::builder`].
#[derive(Debug)]
pub(crate) struct Builder {
    scratch: Scratch,
    docroot: PathBuf,
    env: Vec<(String, String)>,
    ini: Vec<(String, String)>,
    workers: usize,
    config: String,
}

impl Builder {
    /// Serves this folder instead of an own empty one. `www-data` must be able to read it.
    pub(crate) fn docroot(mut self, folder: &Path) -> Self {
        self.docroot = folder.to_owned();
        self
    }

    /// Writes a file into the document root, for example `("index.php", "<?php echo 1;")`.
    pub(crate) fn file(self, name: &str, contents: &str) -> Self {
        let path = self.docroot.join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("the file's folder");
        std::fs::write(path, contents).expect("a file in the document root");
        self
    }

    /// Sets an environment variable that PHP sees with `getenv()`. No quotes or line breaks.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds lines to Apache's configuration; `mod_setenvif` is loaded.
    pub(crate) fn config(mut self, lines: &str) -> Self {
        self.config.push_str(lines);
        self
    }

    /// Sets a key of `php.ini`.
    pub(crate) fn ini(mut self, key: &str, value: &str) -> Self {
        self.ini.push((key.to_owned(), value.to_owned()));
        self
    }

    /// How many PHP workers there are, 4 by default.
    pub(crate) fn workers(mut self, count: usize) -> Self {
        self.workers = count;
        self
    }

    /// Starts both programs and returns when Apache accepts connections and php-fpm answers.
    pub(crate) fn start(self) -> Apache {
        let port = ports::free();
        let root = rustix::process::geteuid().is_root();
        self.scratch.write("fpm.conf", self.fpm_conf(root));
        self.scratch
            .write("apache.conf", self.apache_conf(port, root));
        let apache = Apache {
            fpm: Mutex::new(None),
            apache: Mutex::new(None),
            port,
            docroot: self.docroot,
            scratch: self.scratch,
        };
        apache.start_fpm();
        apache.start();
        apache
    }

    fn fpm_conf(&self, root: bool) -> String {
        let dir = self.scratch.path().display();
        let user = if root {
            "user=www-data\ngroup=www-data\n"
        } else {
            ""
        };
        let mut conf = format!(
            "[global]\nerror_log={dir}/fpm.log\ndaemonize=no\npid={dir}/fpm.pid\n[www]\n{user}listen={dir}/fpm.sock\n\
             listen.mode=0666\nlisten.backlog=1024\npm=static\npm.max_children={}\ncatch_workers_output=yes\n\
             php_admin_value[error_log]=/dev/stderr\nphp_admin_flag[log_errors]=on\n",
            self.workers
        );
        for (name, value) in &self.env {
            conf += &format!("env[{name}]=\"{value}\"\n");
        }
        for (key, value) in &self.ini {
            conf += &format!("php_admin_value[{key}]={value}\n");
        }
        conf
    }

    fn apache_conf(&self, port: u16, root: bool) -> String {
        let (dir, docroot) = (self.scratch.path().display(), self.docroot.display());
        let user = if root {
            "User www-data\nGroup www-data\n"
        } else {
            ""
        };
        let modules: String = [
            "mpm_event",
            "authz_core",
            "dir",
            "mime",
            "proxy",
            "proxy_fcgi",
            "setenvif",
        ]
        .map(|name| format!("LoadModule {name}_module {MODULES}/mod_{name}.so\n"))
        .concat();
        format!(
            "{modules}{user}ServerRoot {dir}\nServerName localhost\nListen 127.0.0.1:{port}\nPidFile {dir}/apache.pid\n\
             Mutex file:{dir} default\nErrorLog {dir}/apache-error.log\nLogFormat \"%h %>s %D %r\" short\n\
             TypesConfig /etc/mime.types\nGracefulShutdownTimeout 5\nTimeout 30\nDocumentRoot {docroot}\nDirectoryIndex index.php index.html\n\
             <Directory {docroot}>\nRequire all granted\nFallbackResource disabled\n</Directory>\n\
             <FilesMatch \"\\.php$\">\nSetHandler \"proxy:unix:{dir}/fpm.sock|fcgi://localhost\"\n</FilesMatch>\n{}\n",
            self.config
        )
    }
}

/// A web server with PHP on a port of 127.0.0.1.
#[derive(Debug)]
pub(crate) struct Apache {
    apache: Mutex<Option<Process>>,
    fpm: Mutex<Option<Process>>,
    port: u16,
    docroot: PathBuf,
    scratch: Scratch,
}

impl Apache {
    /// An empty document root unless told otherwise.
    pub(crate) fn builder() -> Builder {
        let scratch = Scratch::new("web");
        let docroot = scratch.join("www");
        std::fs::create_dir(&docroot).expect("the document root");
        Builder {
            scratch,
            docroot,
            env: Vec::new(),
            ini: Vec::new(),
            workers: 4,
            config: String::new(),
        }
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of `path`, which starts with a slash.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// The document root.
    pub(crate) fn docroot(&self) -> &Path {
        &self.docroot
    }

    /// `GET path`; an error is no answer at all.
    pub(crate) fn get(&self, path: &str) -> Result<Response, String> {
        http::get(&self.address(), path)
    }

    /// What Apache and PHP complained about so far.
    pub(crate) fn log(&self) -> String {
        ["apache-error.log", "fpm.log", "fpm.out", "apache.out"]
            .map(|name| std::fs::read_to_string(self.scratch.join(name)).unwrap_or_default())
            .concat()
    }

    /// Starts Apache again after [`Self::stop`], on the same port.
    pub(crate) fn start(&self) {
        let mut slot = self.apache.lock().unwrap();
        assert!(slot.is_none(), "apache runs already");
        let mut command = Command::new(programs::find("apache2", "apache"));
        command
            .args(["-D", "FOREGROUND", "-f"])
            .arg(self.scratch.join("apache.conf"));
        let mut process = Process::spawn("apache", &mut command, &self.scratch.join("apache.out"));
        let address = self.address();
        process.wait_ready(START, || http::get(&address, "/"));
        *slot = Some(process);
    }

    /// Stops Apache: connections are refused. PHP stays.
    pub(crate) fn stop(&self) {
        self.apache
            .lock()
            .unwrap()
            .take()
            .expect("apache runs")
            .stop();
    }

    /// SIGSTOP to Apache and its workers: connections are accepted by the kernel, nothing answers.
    pub(crate) fn hang(&self) {
        self.apache
            .lock()
            .unwrap()
            .as_mut()
            .expect("apache runs")
            .freeze();
    }

    /// Lets Apache go on after [`Self::hang`].
    pub(crate) fn thaw(&self) {
        self.apache
            .lock()
            .unwrap()
            .as_mut()
            .expect("apache runs")
            .thaw();
    }

    /// Starts php-fpm again after [`Self::stop_fpm`].
    pub(crate) fn start_fpm(&self) {
        let mut slot = self.fpm.lock().unwrap();
        assert!(slot.is_none(), "php-fpm runs already");
        let mut command = Command::new(fpm_program());
        command
            .arg("--nodaemonize")
            .arg("--fpm-config")
            .arg(self.scratch.join("fpm.conf"));
        let mut process = Process::spawn("php-fpm", &mut command, &self.scratch.join("fpm.out"));
        let socket = self.scratch.join("fpm.sock");
        process.wait_ready(START, || std::os::unix::net::UnixStream::connect(&socket));
        *slot = Some(process);
    }

    /// Stops php-fpm: Apache answers 503 for PHP files.
    pub(crate) fn stop_fpm(&self) {
        self.fpm
            .lock()
            .unwrap()
            .take()
            .expect("php-fpm runs")
            .stop();
    }

    /// SIGSTOP to PHP: Apache waits for it.
    pub(crate) fn hang_fpm(&self) {
        self.fpm
            .lock()
            .unwrap()
            .as_mut()
            .expect("php-fpm runs")
            .freeze();
    }

    /// Lets PHP go on after [`Self::hang_fpm`].
    pub(crate) fn thaw_fpm(&self) {
        self.fpm
            .lock()
            .unwrap()
            .as_mut()
            .expect("php-fpm runs")
            .thaw();
    }

    /// Waits until `GET path` answers with `status`, and returns the body.
    #[track_caller]
    pub(crate) fn wait_status(&self, deadline: Duration, path: &str, status: u16) -> String {
        poll::until(
            deadline,
            &format!("{status} from {}", self.url(path)),
            || {
                let response = self.get(path)?;
                if response.status == status {
                    Ok(response.text())
                } else {
                    Err(format!("{}: {}", response.status, self.log()))
                }
            },
        )
    }
}

/// `php-fpm8.2` on Debian 12, named after its version elsewhere.
fn fpm_program() -> PathBuf {
    let named = std::fs::read_dir("/usr/sbin")
        .ok()
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path());
    let mut found: Vec<_> = named
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("php-fpm"))
        })
        .collect();
    found.sort();
    found
        .pop()
        .unwrap_or_else(|| programs::find("php-fpm", "apache"))
}
