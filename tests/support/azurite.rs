//! Azurite, Microsoft's emulator of Azure Storage: blobs only, in memory, plain HTTP, or with TLS and bearer tokens.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use super::http::{self, Response};
use super::pki::{Authority, Certificate};
use super::process::Process;
use super::scratch::Scratch;
use super::{ports, programs};

const START: Duration = Duration::from_secs(60);

/// The storage account that every server knows.
pub(crate) const ACCOUNT: &str = "lamplightertest";
/// Its key: 64 bytes, made up here.
const KEY: &[u8; 64] = b"A key of a test storage account that lives for one test and dies";
/// The service version that requests and signatures name.
const VERSION: &str = "2023-11-03";

/// A blob as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    /// The name in its container.
    pub(crate) name: String,
    /// The entity tag, with the quotes that the listing leaves out.
    pub(crate) etag: String,
    /// Bytes.
    pub(crate) size: u64,
}

/// A storage account of its own. What it holds ends with [`Server::stop`].
#[derive(Debug)]
pub(crate) struct Server {
    process: Mutex<Option<Process>>,
    port: u16,
    scratch: Scratch,
    /// With TLS it takes the tokens of an identity, too: it checks audience, issuer and times, not the signature.
    tls: Option<(Authority, Certificate)>,
}

impl Server {
    /// Starts one and returns when it answers.
    pub(crate) fn start() -> Self {
        Self::start_on(Scratch::new("azurite"), None)
    }

    /// Starts one that speaks TLS and takes the tokens of an identity beside its signatures.
    pub(crate) fn start_with_tokens() -> Self {
        let scratch = Scratch::new("azurite");
        let authority = Authority::new(scratch.path());
        let certificate = authority.issue("azurite");
        Self::start_on(scratch, Some((authority, certificate)))
    }

    fn start_on(scratch: Scratch, tls: Option<(Authority, Certificate)>) -> Self {
        let server = Self {
            process: Mutex::new(None),
            port: ports::free(),
            scratch,
            tls,
        };
        server.restart();
        server
    }

    /// Whom to trust, of one that speaks TLS.
    pub(crate) fn ca_path(&self) -> PathBuf {
        self.tls.as_ref().expect("it speaks TLS").0.ca()
    }

    /// Its own, of one that speaks TLS.
    pub(crate) fn certificate(&self) -> &Certificate {
        &self.tls.as_ref().expect("it speaks TLS").1
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// `127.0.0.1:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The blob endpoint with the account, without a slash at the end: `http://127.0.0.1:port/account`.
    pub(crate) fn endpoint(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/{ACCOUNT}", self.address())
    }

    /// The URL of a container.
    pub(crate) fn container_url(&self, container: &str) -> String {
        format!("{}/{container}", self.endpoint())
    }

    /// The account key in base64.
    pub(crate) fn key() -> String {
        base64(KEY)
    }

    /// A connection string with the account key.
    pub(crate) fn connection_string(&self) -> String {
        let (key, endpoint) = (Self::key(), self.endpoint());
        format!(
            "DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={key};BlobEndpoint={endpoint};"
        )
    }

    /// An account SAS (a query string without `?`) for all containers and blobs with these permissions in the service's order,
    /// for example `rl` or `rwdlac`, valid until 2049.
    /// <https://learn.microsoft.com/rest/api/storageservices/create-account-sas>
    pub(crate) fn account_sas(&self, permissions: &str) -> String {
        let (expiry, services, types) = ("2049-12-31T00:00:00Z", "b", "sco");
        let signed =
            format!("{ACCOUNT}\n{permissions}\n{services}\n{types}\n\n{expiry}\n\n\n{VERSION}\n\n");
        let signature = percent(&base64(&hmac_sha256(&self.scratch, &signed)));
        format!(
            "sv={VERSION}&ss={services}&srt={types}&sp={permissions}&se={}&sig={signature}",
            percent(expiry)
        )
    }

    /// A service SAS for one container, likewise; `expiry` as in `2049-12-31T00:00:00Z`, so that an expired one can be had.
    /// <https://learn.microsoft.com/rest/api/storageservices/create-service-sas>
    pub(crate) fn container_sas(&self, container: &str, permissions: &str, expiry: &str) -> String {
        let resource = format!("/blob/{ACCOUNT}/{container}");
        let signed =
            format!("{permissions}\n\n{expiry}\n{resource}\n\n\n\n{VERSION}\nc\n\n\n\n\n\n\n");
        let signature = percent(&base64(&hmac_sha256(&self.scratch, &signed)));
        format!(
            "sv={VERSION}&sr=c&sp={permissions}&se={}&sig={signature}",
            percent(expiry)
        )
    }

    /// Starts it again on the same port, empty.
    pub(crate) fn restart(&self) {
        let mut slot = self.process.lock().unwrap();
        assert!(slot.is_none(), "azurite runs already");
        let script = programs::find_cached(
            "azurite/node_modules/azurite/dist/src/blob/main.js",
            "azurite",
        );
        let mut command = Command::new(programs::find("node", "azurite"));
        command
            .arg(script)
            .args([
                "--blobHost",
                "127.0.0.1",
                "--blobPort",
                &self.port.to_string(),
                "--inMemoryPersistence",
                "--silent",
            ])
            .args([
                "--disableTelemetry",
                "--skipApiVersionCheck",
                "--disableProductStyleUrl",
            ])
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{}", Self::key()))
            .current_dir(self.scratch.path());
        if let Some((_, certificate)) = &self.tls {
            command.args(["--oauth", "basic", "--cert"]);
            command
                .arg(&certificate.cert)
                .arg("--key")
                .arg(&certificate.key);
        }
        let mut process =
            Process::spawn("azurite", &mut command, &self.scratch.join("azurite.log"));
        process.wait_ready(START, || self.send("GET", &format!("/{ACCOUNT}"), &[], &[]));
        *slot = Some(process);
    }

    /// Stops it: connections are refused, and what it held is gone.
    pub(crate) fn stop(&self) {
        self.process
            .lock()
            .unwrap()
            .take()
            .expect("azurite runs")
            .stop();
    }

    /// SIGSTOP: connections are accepted by the kernel, nothing answers.
    pub(crate) fn freeze(&self) {
        self.process
            .lock()
            .unwrap()
            .as_mut()
            .expect("azurite runs")
            .freeze();
    }

    /// Lets it go on after [`Self::freeze`].
    pub(crate) fn thaw(&self) {
        self.process
            .lock()
            .unwrap()
            .as_mut()
            .expect("azurite runs")
            .thaw();
    }

    /// Makes a container; one that is there is left as it is.
    pub(crate) fn create_container(&self, container: &str) {
        let answer = self.request(
            "PUT",
            &format!("/{container}"),
            "restype=container",
            &[],
            &[],
        );
        assert!(
            matches!(answer.status, 201 | 409),
            "{}: {}",
            answer.status,
            answer.text()
        );
    }

    /// Writes a block blob whole and returns its entity tag. The name may hold anything a blob name may.
    pub(crate) fn put(&self, container: &str, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = format!("/{container}/{}", percent_path(name));
        let answer = self.request(
            "PUT",
            &path,
            "",
            &[("x-ms-blob-type", "BlockBlob")],
            contents.as_ref(),
        );
        assert_eq!(answer.status, 201, "{path}: {}", answer.text());
        answer.header("etag").expect("an entity tag").to_owned()
    }

    /// Reads a blob; `None` when it is not there.
    pub(crate) fn get(&self, container: &str, name: &str) -> Option<Vec<u8>> {
        let path = format!("/{container}/{}", percent_path(name));
        let answer = self.request("GET", &path, "", &[], &[]);
        match answer.status {
            200 => Some(answer.body),
            404 => None,
            other => panic!("{path}: {other}: {}", answer.text()),
        }
    }

    /// Deletes a blob, which must be there.
    pub(crate) fn delete(&self, container: &str, name: &str) {
        let path = format!("/{container}/{}", percent_path(name));
        let answer = self.request("DELETE", &path, "", &[], &[]);
        assert_eq!(answer.status, 202, "{path}: {}", answer.text());
    }

    /// All blobs of a container in the service's order.
    pub(crate) fn list(&self, container: &str) -> Vec<Blob> {
        let mut blobs = Vec::new();
        let mut marker = String::new();
        loop {
            let query = format!("restype=container&comp=list&marker={}", percent(&marker));
            let answer = self.request("GET", &format!("/{container}"), &query, &[], &[]);
            assert_eq!(answer.status, 200, "{container}: {}", answer.text());
            let xml = answer.text();
            blobs.extend(xml.split("<Blob>").skip(1).map(|blob| Blob {
                name: element(blob, "Name"),
                etag: format!("\"{}\"", element(blob, "Etag")),
                size: element(blob, "Content-Length").parse().expect("a size"),
            }));
            marker = element(&xml, "NextMarker");
            if marker.is_empty() {
                return blobs;
            }
        }
    }

    /// One signed request below the account; `query` without signature.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        query: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        let sas = self.account_sas("rwdlac");
        let separator = if query.is_empty() { "" } else { "&" };
        let target = format!("/{ACCOUNT}{path}?{query}{separator}{sas}");
        let headers: Vec<_> = headers
            .iter()
            .copied()
            .chain([("x-ms-version", VERSION)])
            .collect();
        self.send(method, &target, &headers, body)
            .unwrap_or_else(|error| panic!("azurite: {error}"))
    }

    fn send(
        &self,
        method: &str,
        target: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Response, String> {
        match &self.tls {
            None => http::request(&self.address(), method, target, headers, body),
            Some((authority, _)) => {
                over_tls(self.port, &authority.ca(), method, target, headers, body)
            }
        }
    }
}

/// One request by Python, which brings TLS. Its status and body; no headers but the entity tag.
fn over_tls(
    port: u16,
    ca: &std::path::Path,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Response, String> {
    const SCRIPT: &str = "import http.client, json, ssl, sys\n\
        port, ca, method, target, headers = sys.argv[1:]\n\
        c = http.client.HTTPSConnection('127.0.0.1', int(port), timeout=10, context=ssl.create_default_context(cafile=ca))\n\
        c.request(method, target, sys.stdin.buffer.read(), dict(json.loads(headers)))\n\
        r = c.getresponse()\n\
        sys.stdout.write(f\"{r.status} {r.getheader('etag', '-')}\\n\"); sys.stdout.flush(); sys.stdout.buffer.write(r.read())";
    let failed = |error: std::io::Error| error.to_string();
    let mut child = Command::new(programs::find("python3", "base"))
        .args(["-c", SCRIPT, &port.to_string()])
        .arg(ca)
        .args([method, target, &serde_json::json!(headers).to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(body).map_err(failed)?;
    drop(stdin);
    let output = child.wait_with_output().map_err(failed)?;
    let complaint = || String::from_utf8_lossy(&output.stderr).into_owned();
    let end = output.stdout.iter().position(|byte| *byte == b'\n');
    let (head, rest) = output.stdout.split_at(end.ok_or_else(complaint)?);
    let head = String::from_utf8_lossy(head);
    let (status, etag) = head.split_once(' ').ok_or_else(complaint)?;
    Ok(Response {
        status: status.parse().map_err(|_| complaint())?,
        headers: vec![("etag".to_owned(), etag.to_owned())],
        body: rest[1..].to_vec(),
    })
}

/// The text of the first element of this name, unescaped; empty when there is none.
fn element(xml: &str, name: &str) -> String {
    let text = xml
        .split_once(&format!("<{name}>"))
        .and_then(|(_, rest)| rest.split_once(&format!("</{name}>")));
    let text = text.map_or("", |(inner, _)| inner);
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

/// By `openssl`, because nothing else here needs a hash.
fn hmac_sha256(scratch: &Scratch, text: &str) -> Vec<u8> {
    let key: String = KEY.iter().map(|byte| format!("{byte:02x}")).collect();
    let file = tempfile::NamedTempFile::new_in(scratch.path()).expect("a file to sign");
    std::fs::write(file.path(), text).expect("a file to sign");
    let output = Command::new(programs::find("openssl", "base"))
        .args([
            "dgst",
            "-sha256",
            "-mac",
            "HMAC",
            "-macopt",
            &format!("hexkey:{key}"),
            "-binary",
        ])
        .arg(file.path())
        .output()
        .expect("openssl runs");
    assert_eq!(
        output.stdout.len(),
        32,
        "openssl dgst: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0_usize, |word, byte| word << 8 | usize::from(*byte))
            << (8 * (3 - three.len()));
        for place in 0..4 {
            let index = word >> (18 - 6 * place) & 63;
            out.push(if place > three.len() {
                '='
            } else {
                char::from(ALPHABET[index])
            });
        }
    }
    out
}

/// Percent-encodes all but unreserved characters (RFC 3986 section 2.3).
pub(crate) fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

fn percent_path(name: &str) -> String {
    name.split('/').map(percent).collect::<Vec<_>>().join("/")
}
