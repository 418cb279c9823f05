//! What two clients must have in common to share a server connection. Pure.

use bytes::Bytes;
use lamplighter_wire::mysql::flags::Capabilities;

use crate::variables::Variables;

/// What two clients must share to share a server connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Bucket {
    /// The capabilities that change what statements mean; see [`BUCKET_CAPABILITIES`].
    pub(crate) capabilities: Capabilities,
    /// The collation id of the client's handshake.
    pub(crate) collation: u8,
    /// The default schema.
    pub(crate) schema: Option<Bytes>,
    /// Session variables set since the login.
    pub(crate) variables: Variables,
}

impl Bucket {
    /// For connections that are opened before any client asked for one: utf8mb4_general_ci, which every server knows.
    pub(crate) fn of_nobody() -> Self {
        Self {
            capabilities: Capabilities::CLIENT_DEPRECATE_EOF,
            collation: 45,
            schema: None,
            variables: Variables::default(),
        }
    }

    /// Whether a connection of this bucket can be made into one of `wanted` without a login.
    pub(crate) fn is_near(&self, wanted: &Self) -> bool {
        self.capabilities == wanted.capabilities
            && self.collation == wanted.collation
            && (self.schema.is_none() || wanted.schema.is_some())
    }
}

/// Capabilities that a client chooses and that change the meaning of its statements.
pub(crate) const BUCKET_CAPABILITIES: Capabilities = Capabilities::CLIENT_FOUND_ROWS
    .union(Capabilities::CLIENT_IGNORE_SPACE)
    .union(Capabilities::CLIENT_MULTI_STATEMENTS)
    .union(Capabilities::CLIENT_LOCAL_FILES)
    .union(Capabilities::CLIENT_NO_SCHEMA)
    .union(Capabilities::CLIENT_DEPRECATE_EOF)
    .union(Capabilities::CLIENT_QUERY_ATTRIBUTES)
    .union(Capabilities::CLIENT_INTERACTIVE);
