//! Connection phase packets: "Protocol::HandshakeV10", "Protocol::HandshakeResponse41", "Protocol::SSLRequest",
//! "Protocol::AuthSwitchRequest", "Protocol::AuthMoreData".

use core::fmt;

use bytes::{BufMut, Bytes, BytesMut};

use super::ProtocolError;
use super::auth::{AuthPlugin, NONCE_LEN};
use super::flags::{Capabilities, Status};
use super::packet::{self, Reader};

/// First body byte of an `AuthMoreData` packet.
pub const AUTH_MORE_DATA: u8 = 0x01;
/// First body byte of an `AuthSwitchRequest` packet.
pub const AUTH_SWITCH: u8 = 0xFE;

/// Body length of an SSL request.
const SSL_REQUEST_LEN: usize = 32;

/// Zero bytes between the character set and the user's name in a handshake response.
const FILLER: [u8; 23] = [0; 23];

/// The server's first packet ("Protocol::HandshakeV10").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Greeting {
    /// Such as `8.0.36`; bytes that are not UTF-8 are replaced.
    pub server_version: String,
    /// The server's id for this connection, as in KILL.
    pub connection_id: u32,
    /// What the client must mix into its answer.
    pub nonce: [u8; NONCE_LEN],
    /// What the server can do.
    pub capabilities: Capabilities,
    /// The server's default collation id (low byte).
    pub charset: u8,
    /// Server status.
    pub status: Status,
    /// The plugin the nonce is meant for.
    pub auth_plugin: AuthPlugin,
}

impl Greeting {
    /// Reads a greeting's body. An ERR packet may come in its place (too many connections, host blocked): look at the first
    /// byte before.
    ///
    /// # Errors
    /// [`ProtocolError::Unsupported`] for servers before protocol 4.1, else any error of a malformed packet.
    pub fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            10 => {}
            first => {
                return Err(ProtocolError::Unexpected {
                    first,
                    expected: "greeting (protocol 10)",
                });
            }
        }
        let server_version = String::from_utf8_lossy(reader.nul_bytes()?).into_owned();
        let connection_id = reader.u32()?;
        let nonce_start = reader.bytes(8)?;
        reader.bytes(1)?;
        let low = reader.u16()?;
        let charset = reader.u8()?;
        let status = Status(reader.u16()?);
        let high = reader.u16()?;
        let capabilities = Capabilities(u32::from(low) | u32::from(high) << 16);
        if !capabilities
            .contains(Capabilities::CLIENT_PROTOCOL_41 | Capabilities::CLIENT_SECURE_CONNECTION)
        {
            return Err(ProtocolError::Unsupported("server older than protocol 4.1"));
        }
        let nonce_len = usize::from(reader.u8()?);
        reader.bytes(10)?;
        let nonce_end = reader.bytes(nonce_len.saturating_sub(8).max(13))?;
        let mut nonce = [0; NONCE_LEN];
        for (place, byte) in nonce.iter_mut().zip(nonce_start.iter().chain(nonce_end)) {
            *place = *byte;
        }
        let auth_plugin = if capabilities.contains(Capabilities::CLIENT_PLUGIN_AUTH) {
            AuthPlugin::from_name(reader.nul_bytes_or_rest())
        } else {
            AuthPlugin::NativePassword
        };
        Ok(Self {
            server_version,
            connection_id,
            nonce,
            capabilities,
            charset,
            status,
            auth_plugin,
        })
    }

    /// Appends it as a packet. Nonces from here hold no zero byte by the caller's choice: some clients stop at one.
    pub fn encode(&self, out: &mut BytesMut, seq: &mut u8) {
        let [c0, c1, c2, c3] = self.capabilities.bits().to_le_bytes();
        let (nonce_start, nonce_end) = self.nonce.split_at(8);
        packet::write_with(out, seq, |out| {
            out.put_u8(10);
            packet::put_nul_bytes(out, self.server_version.as_bytes());
            out.put_u32_le(self.connection_id);
            out.put_slice(nonce_start);
            out.put_u8(0);
            out.put_slice(&[c0, c1]);
            out.put_u8(self.charset);
            out.put_u16_le(self.status.bits());
            out.put_slice(&[c2, c3]);
            out.put_u8(21);
            out.put_slice(&[0; 10]);
            out.put_slice(nonce_end);
            out.put_u8(0);
            if self.capabilities.contains(Capabilities::CLIENT_PLUGIN_AUTH) {
                packet::put_nul_bytes(out, self.auth_plugin.name());
            }
        });
    }
}

/// The client's answer to the greeting ("Protocol::HandshakeResponse41"). `Debug` leaves the authentication data out.
#[derive(Clone, PartialEq, Eq)]
pub struct HandshakeResponse {
    /// What the client wants of the server's capabilities.
    pub capabilities: Capabilities,
    /// Largest packet the client will take, in bytes.
    pub max_packet_size: u32,
    /// Collation id (low byte).
    pub charset: u8,
    /// User name.
    pub username: Bytes,
    /// Answer to the nonce; secret.
    pub auth_response: Bytes,
    /// Default schema.
    pub database: Option<Bytes>,
    /// The plugin the answer was made with.
    pub auth_plugin: Option<AuthPlugin>,
    /// Connection attributes.
    pub attributes: Vec<(Bytes, Bytes)>,
    /// The level at which the server is to compress with zstd.
    pub zstd_level: Option<u8>,
}

impl fmt::Debug for HandshakeResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandshakeResponse")
            .field("capabilities", &self.capabilities)
            .field("max_packet_size", &self.max_packet_size)
            .field("charset", &self.charset)
            .field("username", &self.username)
            .field("auth_response", &"(secret)")
            .field("database", &self.database)
            .field("auth_plugin", &self.auth_plugin)
            .field("attributes", &self.attributes)
            .finish()
    }
}

impl HandshakeResponse {
    /// Reads a handshake response's body.
    ///
    /// # Errors
    /// [`ProtocolError::Unsupported`] for an SSL request (see [`SslRequest::parse`]) and for clients before protocol 4.1,
    /// else any error of a malformed packet.
    pub fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        if SslRequest::parse(body).is_some() {
            return Err(ProtocolError::Unsupported("SSL request"));
        }
        let mut reader = Reader::new(body);
        let capabilities = Capabilities(reader.u32()?);
        if !capabilities.contains(Capabilities::CLIENT_PROTOCOL_41) {
            return Err(ProtocolError::Unsupported("client older than protocol 4.1"));
        }
        let max_packet_size = reader.u32()?;
        let charset = reader.u8()?;
        reader.bytes(FILLER.len())?;
        let username = Bytes::copy_from_slice(reader.nul_bytes()?);
        let auth_response =
            if capabilities.contains(Capabilities::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA) {
                reader.lenenc_bytes()?
            } else if capabilities.contains(Capabilities::CLIENT_SECURE_CONNECTION) {
                let len = usize::from(reader.u8()?);
                reader.bytes(len)?
            } else {
                reader.nul_bytes_or_rest()
            };
        let auth_response = Bytes::copy_from_slice(auth_response);
        let mut database = None;
        if capabilities.contains(Capabilities::CLIENT_CONNECT_WITH_DB) {
            database = Some(reader.nul_bytes_or_rest())
                .filter(|name| !name.is_empty())
                .map(Bytes::copy_from_slice);
        }
        let mut auth_plugin = None;
        if capabilities.contains(Capabilities::CLIENT_PLUGIN_AUTH) {
            let name = reader.nul_bytes_or_rest();
            auth_plugin = Some(name)
                .filter(|name| !name.is_empty())
                .map(AuthPlugin::from_name);
        }
        let mut attributes = Vec::new();
        if capabilities.contains(Capabilities::CLIENT_CONNECT_ATTRS) && !reader.is_empty() {
            let mut list = Reader::new(reader.lenenc_bytes()?);
            while !list.is_empty() {
                let key = Bytes::copy_from_slice(list.lenenc_bytes()?);
                attributes.push((key, Bytes::copy_from_slice(list.lenenc_bytes()?)));
            }
        }
        let zstd = capabilities.contains(Capabilities::CLIENT_ZSTD_COMPRESSION_ALGORITHM);
        let zstd_level = if zstd && !reader.is_empty() {
            Some(reader.u8()?)
        } else {
            None
        };
        Ok(Self {
            capabilities,
            max_packet_size,
            charset,
            username,
            auth_response,
            database,
            auth_plugin,
            attributes,
            zstd_level,
        })
    }

    /// Appends it as a packet. `CLIENT_CONNECT_WITH_DB`, `CLIENT_PLUGIN_AUTH`, `CLIENT_CONNECT_ATTRS` and
    /// `CLIENT_ZSTD_COMPRESSION_ALGORITHM` are sent as the fields demand, whatever `capabilities` says of them.
    pub fn encode(&self, out: &mut BytesMut, seq: &mut u8) {
        let wanted = [
            (
                Capabilities::CLIENT_CONNECT_WITH_DB,
                self.database.is_some(),
            ),
            (Capabilities::CLIENT_PLUGIN_AUTH, self.auth_plugin.is_some()),
            (
                Capabilities::CLIENT_CONNECT_ATTRS,
                !self.attributes.is_empty(),
            ),
            (
                Capabilities::CLIENT_ZSTD_COMPRESSION_ALGORITHM,
                self.zstd_level.is_some(),
            ),
        ];
        let mut capabilities = self.capabilities | Capabilities::CLIENT_PROTOCOL_41;
        for (flag, present) in wanted {
            capabilities = if present {
                capabilities | flag
            } else {
                capabilities.without(flag)
            };
        }
        if self.auth_response.len() > 250 {
            // An access token does not fit the one-byte length.
            capabilities |= Capabilities::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA;
        }
        packet::write_with(out, seq, |out| {
            put_fixed_part(out, capabilities, self.max_packet_size, self.charset);
            packet::put_nul_bytes(out, &self.username);
            // Up to 250 bytes the length-encoded and the one-byte length are the same byte.
            if capabilities.intersects(
                Capabilities::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
                    | Capabilities::CLIENT_SECURE_CONNECTION,
            ) {
                packet::put_lenenc_bytes(out, &self.auth_response);
            } else {
                packet::put_nul_bytes(out, &self.auth_response);
            }
            if let Some(database) = &self.database {
                packet::put_nul_bytes(out, database);
            }
            if let Some(plugin) = &self.auth_plugin {
                packet::put_nul_bytes(out, plugin.name());
            }
            if !self.attributes.is_empty() {
                let mut list = BytesMut::new();
                for (key, value) in &self.attributes {
                    packet::put_lenenc_bytes(&mut list, key);
                    packet::put_lenenc_bytes(&mut list, value);
                }
                packet::put_lenenc_bytes(out, &list);
            }
            if let Some(level) = self.zstd_level {
                out.put_u8(level);
            }
        });
    }
}

fn put_fixed_part(
    out: &mut BytesMut,
    capabilities: Capabilities,
    max_packet_size: u32,
    charset: u8,
) {
    out.put_u32_le(capabilities.bits());
    out.put_u32_le(max_packet_size);
    out.put_u8(charset);
    out.put_slice(&FILLER);
}

/// The client asks for TLS before it sends its handshake response ("Protocol::SSLRequest").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SslRequest {
    /// The same as in the handshake response that follows; `CLIENT_SSL` is added.
    pub capabilities: Capabilities,
    /// Largest packet the client will take, in bytes.
    pub max_packet_size: u32,
    /// Collation id (low byte).
    pub charset: u8,
}

impl SslRequest {
    /// Reads an SSL request; `None` if the body is not one.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        if body.len() != SSL_REQUEST_LEN {
            return None;
        }
        let mut reader = Reader::new(body);
        let request = Self {
            capabilities: Capabilities(reader.u32().ok()?),
            max_packet_size: reader.u32().ok()?,
            charset: reader.u8().ok()?,
        };
        request
            .capabilities
            .contains(Capabilities::CLIENT_SSL)
            .then_some(request)
    }

    /// Appends it as a packet.
    pub fn encode(&self, out: &mut BytesMut, seq: &mut u8) {
        let capabilities =
            self.capabilities | Capabilities::CLIENT_SSL | Capabilities::CLIENT_PROTOCOL_41;
        packet::write_with(out, seq, |out| {
            put_fixed_part(out, capabilities, self.max_packet_size, self.charset)
        });
    }
}

/// The server wants another plugin ("Protocol::AuthSwitchRequest").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSwitchRequest {
    /// The plugin to go on with.
    pub plugin: AuthPlugin,
    /// The plugin's data: for the password plugins a new nonce, without the zero byte that follows it on the wire.
    pub data: Bytes,
}

impl AuthSwitchRequest {
    /// Reads an auth switch request's body.
    ///
    /// # Errors
    /// [`ProtocolError::Unsupported`] for the pre-4.1 form without a plugin, else any error of a malformed packet.
    pub fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        let mut reader = Reader::new(body);
        match reader.u8()? {
            AUTH_SWITCH => {}
            first => {
                return Err(ProtocolError::Unexpected {
                    first,
                    expected: "auth switch request",
                });
            }
        }
        if reader.is_empty() {
            return Err(ProtocolError::Unsupported("old password authentication"));
        }
        let plugin = AuthPlugin::from_name(reader.nul_bytes()?);
        let data = reader.rest();
        let data = if data.len() == NONCE_LEN + 1 {
            data.strip_suffix(&[0]).unwrap_or(data)
        } else {
            data
        };
        Ok(Self {
            plugin,
            data: Bytes::copy_from_slice(data),
        })
    }

    /// Appends it as a packet.
    pub fn encode(&self, out: &mut BytesMut, seq: &mut u8) {
        packet::write_with(out, seq, |out| {
            out.put_u8(AUTH_SWITCH);
            packet::put_nul_bytes(out, self.plugin.name());
            out.put_slice(&self.data);
            out.put_u8(0);
        });
    }
}

/// A plugin's own message from the server ("Protocol::AuthMoreData").
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthMoreData {
    /// The message; for `caching_sha2_password` one byte, see [`super::auth`].
    pub data: Bytes,
}

impl AuthMoreData {
    /// Reads its body.
    ///
    /// # Errors
    /// Any [`ProtocolError`] of a malformed packet.
    pub fn parse(body: &[u8]) -> Result<Self, ProtocolError> {
        match body.split_first() {
            Some((&AUTH_MORE_DATA, data)) => Ok(Self {
                data: Bytes::copy_from_slice(data),
            }),
            Some((&first, _)) => Err(ProtocolError::Unexpected {
                first,
                expected: "more authentication data",
            }),
            None => Err(ProtocolError::Empty("more authentication data")),
        }
    }

    /// Appends it as a packet.
    pub fn encode(&self, out: &mut BytesMut, seq: &mut u8) {
        packet::write_with(out, seq, |out| {
            out.put_u8(AUTH_MORE_DATA);
            out.put_slice(&self.data);
        });
    }
}

#[cfg(test)]
mod tests;
