//! The client's login, on a greeting made from a template: no server is touched. ("Connection Phase" in the MySQL Internals
//! manual; caching_sha2_password's fast path only, because the local secret is known in clear.)

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use bytes::{Bytes, BytesMut};
use lamplighter_wire::mysql::ProtocolError;
use lamplighter_wire::mysql::auth::{AuthPlugin, FAST_AUTH_SUCCESS};
use lamplighter_wire::mysql::flags::{Capabilities, Status};
use lamplighter_wire::mysql::handshake::{
    AuthMoreData, AuthSwitchRequest, Greeting, HandshakeResponse,
};
use lamplighter_wire::mysql::packet::Reader;
use lamplighter_wire::mysql::response::{ErrPacket, OkPacket};
use lamplighter_wire::sql::session_key;

use super::{Client, Identity};
use crate::access::{Access, Verdict};
use crate::cancel::CLIENT_IDS;
use crate::server::ServerFacts;

/// What is offered to every client. No TLS and no compression: the endpoint is on this machine. No optional metadata: it changes
/// the packets.
const OFFERED: Capabilities = Capabilities::CLIENT_LONG_PASSWORD
    .union(Capabilities::CLIENT_FOUND_ROWS)
    .union(Capabilities::CLIENT_LONG_FLAG)
    .union(Capabilities::CLIENT_CONNECT_WITH_DB)
    .union(Capabilities::CLIENT_NO_SCHEMA)
    .union(Capabilities::CLIENT_ODBC)
    .union(Capabilities::CLIENT_IGNORE_SPACE)
    .union(Capabilities::CLIENT_PROTOCOL_41)
    .union(Capabilities::CLIENT_INTERACTIVE)
    .union(Capabilities::CLIENT_IGNORE_SIGPIPE)
    .union(Capabilities::CLIENT_TRANSACTIONS)
    .union(Capabilities::CLIENT_RESERVED)
    .union(Capabilities::CLIENT_SECURE_CONNECTION)
    .union(Capabilities::CLIENT_MULTI_STATEMENTS)
    .union(Capabilities::CLIENT_MULTI_RESULTS)
    .union(Capabilities::CLIENT_PS_MULTI_RESULTS)
    .union(Capabilities::CLIENT_PLUGIN_AUTH)
    .union(Capabilities::CLIENT_CONNECT_ATTRS)
    .union(Capabilities::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA)
    .union(Capabilities::CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS)
    .union(Capabilities::CLIENT_SESSION_TRACK)
    .union(Capabilities::CLIENT_DEPRECATE_EOF);

/// The version shown before any server was reached.
const VERSION_UNKNOWN: &str = "8.4.0";

/// utf8mb4_general_ci, shown before any server was reached.
const COLLATION_UNKNOWN: u8 = 45;

/// The largest packet of a login, in bytes; connection attributes may take 64 KiB (performance_schema_session_connect_attrs_size).
const LOGIN_PACKET_MAX: usize = 128 * 1024;

/// ER_ACCESS_DENIED_ERROR.
const ACCESS_DENIED: u16 = 1045;
/// ER_HANDSHAKE_ERROR.
const BAD_HANDSHAKE: u16 = 1043;

/// Greets clients and lets them in.
#[derive(Debug)]
pub(crate) struct Greeter {
    access: Access,
    facts: Arc<ArcSwapOption<ServerFacts>>,
    offered: Capabilities,
    next_id: AtomicU32,
}

/// Why a login came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoginError {
    /// The client left or the socket failed.
    #[error("the client went away during its login")]
    Gone(#[from] io::Error),
    /// The client's packets make no sense.
    #[error("the client's login is malformed")]
    Malformed(#[from] ProtocolError),
    /// Name, peer or password.
    #[error("access denied for {user:?}")]
    Denied { user: String },
    /// The system has no randomness.
    #[error("no random bytes for a nonce")]
    Random,
}

impl Greeter {
    pub(crate) fn new(
        access: Access,
        facts: Arc<ArcSwapOption<ServerFacts>>,
        local_infile: bool,
    ) -> Self {
        let files = if local_infile {
            Capabilities::CLIENT_LOCAL_FILES
        } else {
            Capabilities::empty()
        };
        Self {
            access,
            facts,
            offered: OFFERED.union(files),
            next_id: AtomicU32::new(1),
        }
    }

    /// The server's own default, once one was reached.
    pub(crate) fn server_collation(&self) -> Option<u8> {
        self.facts.load().as_ref().map(|facts| facts.collation)
    }

    /// Greets `client` and judges its answer.
    pub(crate) async fn login(&self, client: &mut Client) -> Result<Identity, LoginError> {
        let connection_id = CLIENT_IDS | self.next_id.fetch_add(1, Ordering::Relaxed);
        let nonce = nonce()?;
        let mut out = BytesMut::with_capacity(128);
        let mut seq = 0;
        let offered = self.offered();
        self.greeting(connection_id, nonce, offered)
            .encode(&mut out, &mut seq);
        client.send(&mut out).await?;
        let (body, seq) = client.read_packet(LOGIN_PACKET_MAX).await?;
        let mut seq = seq.wrapping_add(1);
        let response = match HandshakeResponse::parse(&body) {
            Ok(response) => response,
            Err(error) => {
                let text = format!("lamplighter: bad handshake: {error}");
                client
                    .send_error(
                        &ErrPacket::new(BAD_HANDSHAKE, *b"08S01", text.into_bytes()),
                        seq,
                    )
                    .await?;
                return Err(error.into());
            }
        };
        let capabilities = offered.intersection(response.capabilities);
        let attempt = Attempt {
            user: &response.username,
            plugin: response.auth_plugin.as_ref(),
            nonce: &nonce,
            answer: &response.auth_response,
        };
        self.authenticate(client, attempt, capabilities, &mut seq)
            .await?;
        Ok(Identity {
            connection_id,
            key: key_of(&response.attributes),
            user: response.username,
            capabilities,
            collation: response.charset,
            schema: response.database,
            status: self.fresh_status(),
            nonce,
        })
    }

    /// COM_CHANGE_USER: judges the new login and returns the new identity. `body` starts after the command byte.
    pub(crate) async fn change_user(
        &self,
        client: &mut Client,
        old: &Identity,
        body: &[u8],
        seq: u8,
    ) -> Result<Identity, LoginError> {
        let mut reader = Reader::new(body);
        let user = Bytes::copy_from_slice(reader.nul_bytes()?);
        let length = usize::from(reader.u8()?);
        let answer = reader.bytes(length)?;
        let schema = Some(reader.nul_bytes_or_rest())
            .filter(|name| !name.is_empty())
            .map(Bytes::copy_from_slice);
        // the high byte of the collation id was never used by a login either
        let collation = reader.u16().map_or(old.collation, |id| id.to_le_bytes()[0]);
        let plugin = Some(reader.nul_bytes_or_rest())
            .filter(|name| !name.is_empty())
            .map(AuthPlugin::from_name);
        let attempt = Attempt {
            user: &user,
            plugin: plugin.as_ref(),
            nonce: &old.nonce,
            answer,
        };
        let mut seq = seq;
        self.authenticate(client, attempt, old.capabilities, &mut seq)
            .await?;
        Ok(Identity {
            user,
            schema,
            collation,
            ..old.clone()
        })
    }

    async fn authenticate(
        &self,
        client: &mut Client,
        attempt: Attempt<'_>,
        capabilities: Capabilities,
        seq: &mut u8,
    ) -> Result<(), LoginError> {
        let peer = client.peer();
        let mut plugin = attempt.plugin.cloned();
        let mut has_answered = expects_a_word(attempt.answer);
        let mut verdict = self.access.judge(
            attempt.user,
            peer,
            plugin.as_ref(),
            attempt.nonce,
            attempt.answer,
        );
        let mut out = BytesMut::with_capacity(64);
        if verdict == Verdict::AskAgain {
            let nonce = nonce()?;
            let asked = AuthPlugin::CachingSha2Password;
            AuthSwitchRequest {
                plugin: asked.clone(),
                data: Bytes::copy_from_slice(&nonce),
            }
            .encode(&mut out, seq);
            client.send(&mut out).await?;
            let (answer, answer_seq) = client.read_packet(LOGIN_PACKET_MAX).await?;
            *seq = answer_seq.wrapping_add(1);
            has_answered = expects_a_word(&answer);
            verdict = self
                .access
                .judge(attempt.user, peer, Some(&asked), &nonce, &answer);
            plugin = Some(asked);
        }
        if verdict != Verdict::Welcome {
            return Err(deny(client, &attempt, *seq).await);
        }
        // a client that has answered waits for this word, also where the kernel's word was enough for us
        if has_answered && plugin == Some(AuthPlugin::CachingSha2Password) {
            AuthMoreData {
                data: Bytes::from_static(&[FAST_AUTH_SUCCESS]),
            }
            .encode(&mut out, seq);
        }
        OkPacket {
            status: self.fresh_status(),
            ..OkPacket::default()
        }
        .encode(capabilities, &mut out, seq);
        client.send(&mut out).await?;
        Ok(())
    }

    fn fresh_status(&self) -> Status {
        let facts = self.facts.load();
        facts
            .as_ref()
            .map_or(Status::SERVER_STATUS_AUTOCOMMIT, |facts| facts.status)
    }

    /// Query attributes only if the server takes them, as the newest login saw it.
    fn offered(&self) -> Capabilities {
        let facts = self.facts.load();
        if facts.as_ref().is_some_and(|facts| facts.has_attributes) {
            self.offered.union(Capabilities::CLIENT_QUERY_ATTRIBUTES)
        } else {
            self.offered
        }
    }

    fn greeting(&self, connection_id: u32, nonce: [u8; 20], offered: Capabilities) -> Greeting {
        let facts = self.facts.load();
        Greeting {
            server_version: facts
                .as_ref()
                .map_or_else(|| VERSION_UNKNOWN.to_owned(), |facts| facts.version.clone()),
            connection_id,
            nonce,
            capabilities: offered,
            charset: facts
                .as_ref()
                .map_or(COLLATION_UNKNOWN, |facts| facts.collation),
            status: self.fresh_status(),
            auth_plugin: AuthPlugin::CachingSha2Password,
        }
    }
}

/// What the application calls whatever shares its writes.
fn key_of(attributes: &[(Bytes, Bytes)]) -> Option<u64> {
    let named = attributes
        .iter()
        .find(|(name, _)| name == "lamplighter_key");
    named.map(|(_, key)| session_key(key))
}

/// One answer to be judged.
#[derive(Clone, Copy)]
struct Attempt<'a> {
    user: &'a [u8],
    plugin: Option<&'a AuthPlugin>,
    nonce: &'a [u8],
    answer: &'a [u8],
}

/// Tells the client, in MySQL's own words, and the log.
async fn deny(client: &mut Client, attempt: &Attempt<'_>, seq: u8) -> LoginError {
    let user = String::from_utf8_lossy(attempt.user).into_owned();
    let used = if attempt.answer.is_empty() {
        "NO"
    } else {
        "YES"
    };
    let text = format!("Access denied for user '{user}'@'localhost' (using password: {used})");
    match client
        .send_error(
            &ErrPacket::new(ACCESS_DENIED, *b"28000", text.into_bytes()),
            seq,
        )
        .await
    {
        Ok(()) => LoginError::Denied { user },
        Err(error) => LoginError::Gone(error),
    }
}

/// 20 random bytes without zero (some clients stop at one) and without `$` (a separator in stored hashes).
fn nonce() -> Result<[u8; 20], LoginError> {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).map_err(|_| LoginError::Random)?;
    Ok(bytes.map(|byte| match byte & 0x7f {
        0 => 1,
        b'$' => b'%',
        other => other,
    }))
}

/// Whether a client of caching_sha2_password that answered so waits for more than OK. One without a password sends nothing or a
/// single zero byte, and to libmysqlclient any word but OK is malformed then.
fn expects_a_word(answer: &[u8]) -> bool {
    !answer.is_empty() && answer != [0]
}
