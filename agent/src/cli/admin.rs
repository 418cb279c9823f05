//! A client for the running agent's admin socket: HTTP/1.1, one request per connection, bounded in time and size. Touches
//! that socket only.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the agent may be silent.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest answer that is read, in bytes.
const ANSWER_MAX: u64 = 4 * 1024 * 1024;

/// The agent's answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AdminError {
    #[error("no agent answers on {}; is it running? (systemctl status lamplighter)", path.display())]
    NotThere { path: PathBuf, source: io::Error },
    #[error("may not use {}: run as root or as a member of the group lamplighter", path.display())]
    Forbidden { path: PathBuf },
    #[error("the agent on {} did not answer", path.display())]
    Silent { path: PathBuf, source: io::Error },
    #[error("the answer from {} is no HTTP answer of the agent's", path.display())]
    Malformed { path: PathBuf },
}

/// Sends one request without a body and reads the answer.
pub(super) fn ask(socket: &Path, method: &str, target: &str) -> Result<Answer, AdminError> {
    send(socket, method, target, "")
}

/// Asks a part of the agent; see `lamplighter_core::views`.
pub(super) fn ask_view(socket: &Path, view: &str, question: &str) -> Result<Answer, AdminError> {
    send(socket, "POST", &format!("/api/v1/views/{view}"), question)
}

fn send(socket: &Path, method: &str, target: &str, body: &str) -> Result<Answer, AdminError> {
    let mut stream = UnixStream::connect(socket).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => AdminError::Forbidden {
            path: socket.to_owned(),
        },
        _ => AdminError::NotThere {
            path: socket.to_owned(),
            source,
        },
    })?;
    let answer =
        exchange(&mut stream, method, target, body).map_err(|source| AdminError::Silent {
            path: socket.to_owned(),
            source,
        })?;
    parse(&answer).ok_or_else(|| AdminError::Malformed {
        path: socket.to_owned(),
    })
}

fn exchange(
    stream: &mut UnixStream,
    method: &str,
    target: &str,
    body: &str,
) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Length: {}\r\n\
         Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    Ok(answer)
}

/// The agent sends whole bodies with their length (RFC 9112 section 6.2) and closes, as it was asked to.
fn parse(answer: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    let mut length = None;
    for line in lines {
        let (name, value) = line.split_once(':')?;
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.trim().parse::<usize>().ok()?);
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return None;
        }
    }
    if length.is_some_and(|length| length != body.len()) {
        return None;
    }
    Some(Answer {
        status: status.parse().ok()?,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests;
