//! Certificates for test servers, made by `openssl`: an own authority, server certificates, and the broken kinds.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::programs;

/// What every server certificate covers unless told otherwise.
const NAMES: &str = "IP:127.0.0.1,DNS:localhost";

/// From and to, as `openssl ca` takes them.
const VALID: (&str, &str) = ("20200101000000Z", "20491231000000Z");

/// For `openssl ca`, run in the authority's folder.
const CONFIG: &str = "[ca]\ndefault_ca=test\n[test]\ndatabase=index.txt\nrand_serial=yes\nnew_certs_dir=.\ncertificate=ca.pem\n\
private_key=ca-key.pem\ndefault_md=sha256\nunique_subject=no\npolicy=names\n[names]\ncommonName=supplied\n";

/// A certificate and its private key, as PEM files readable by everyone.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// The certificate.
    pub(crate) cert: PathBuf,
    /// The private key (EC P-256, PKCS #8).
    pub(crate) key: PathBuf,
}

/// A certificate authority in a folder.
#[derive(Debug, Clone)]
pub(crate) struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes a new authority whose files go to `dir` (created when it is not there).
    pub(crate) fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("the authority's folder");
        let this = Self {
            dir: dir.to_owned(),
        };
        std::fs::write(dir.join("index.txt"), "").expect("the authority's list");
        std::fs::write(dir.join("ca.cnf"), CONFIG).expect("the authority's settings");
        this.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "3650",
            "-keyout",
            "ca-key.pem",
            "-out",
            "ca.pem",
            "-subj",
            "/CN=Lamplighter test authority",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]);
        this
    }

    /// The authority's own certificate: what a client must trust.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A good server certificate for 127.0.0.1 and localhost in `name.pem` and `name-key.pem`.
    pub(crate) fn issue(&self, name: &str) -> Certificate {
        self.issue_for(name, NAMES, VALID)
    }

    /// One for other names, in openssl's notation, for example `DNS:elsewhere.test`.
    pub(crate) fn issue_named(&self, name: &str, subject_alt_names: &str) -> Certificate {
        self.issue_for(name, subject_alt_names, VALID)
    }

    /// One that was valid in January 2020 only.
    pub(crate) fn issue_expired(&self, name: &str) -> Certificate {
        self.issue_for(name, NAMES, ("20200101000000Z", "20200131000000Z"))
    }

    fn issue_for(
        &self,
        name: &str,
        subject_alt_names: &str,
        (start, end): (&str, &str),
    ) -> Certificate {
        let file = |suffix: &str| format!("{name}{suffix}");
        let (key, request, cert, ext) =
            (file("-key.pem"), file(".csr"), file(".pem"), file(".ext"));
        self.openssl(&[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-keyout",
            &key,
            "-out",
            &request,
            "-subj",
            &format!("/CN={name}"),
        ]);
        let extensions = format!(
            "subjectAltName={subject_alt_names}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth,clientAuth\n"
        );
        std::fs::write(self.dir.join(&ext), extensions).expect("the extensions file");
        // `openssl x509` knows no start date before version 3.4
        self.openssl(&[
            "ca",
            "-batch",
            "-notext",
            "-config",
            "ca.cnf",
            "-startdate",
            start,
            "-enddate",
            end,
            "-in",
            &request,
            "-out",
            &cert,
            "-extfile",
            &ext,
        ]);
        let certificate = Certificate {
            cert: self.dir.join(cert),
            key: self.dir.join(key),
        };
        // servers that drop to another user still have to read it; the folder is a test's own
        let everyone =
            <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o644);
        std::fs::set_permissions(&certificate.key, everyone).expect("the key file");
        certificate
    }

    fn openssl(&self, args: &[&str]) {
        let output = Command::new(programs::find("openssl", "base"))
            .args(args)
            .current_dir(&self.dir)
            .output()
            .expect("openssl runs");
        assert!(
            output.status.success(),
            "openssl {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
