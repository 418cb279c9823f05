//! Capability flags (connection phase) and server status flags (every OK and EOF). Names and values are the manual's:
//! "Capabilities Flags" and `SERVER_STATUS_flags_enum` in `mysql_com.h`.

macro_rules! flag_set {
    ($(#[$meta:meta])* $name:ident($int:ty) { $($(#[$flag_meta:meta])* $flag:ident = $value:expr;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
        pub struct $name(pub $int);

        impl $name {
            $($(#[$flag_meta])* pub const $flag: Self = Self($value);)*

            /// No flag set.
            #[must_use]
            pub const fn empty() -> Self {
                Self(0)
            }

            /// The raw bits.
            #[must_use]
            pub const fn bits(self) -> $int {
                self.0
            }

            /// Every flag of `other` is set here.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// At least one flag of `other` is set here.
            #[must_use]
            pub const fn intersects(self, other: Self) -> bool {
                self.0 & other.0 != 0
            }

            /// Flags set in either.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// Flags set in both.
            #[must_use]
            pub const fn intersection(self, other: Self) -> Self {
                Self(self.0 & other.0)
            }

            /// Flags set here and not in `other`.
            #[must_use]
            pub const fn without(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }

            /// No flag is set.
            #[must_use]
            pub const fn is_empty(self) -> bool {
                self.0 == 0
            }
        }

        impl core::ops::BitOr for $name {
            type Output = Self;
            fn bitor(self, other: Self) -> Self {
                self.union(other)
            }
        }

        impl core::ops::BitOrAssign for $name {
            fn bitor_assign(&mut self, other: Self) {
                *self = self.union(other);
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                let mut left = self.0;
                f.write_str(stringify!($name))?;
                f.write_str("(")?;
                let mut first = true;
                $(
                    if left & $value != 0 {
                        if !first {
                            f.write_str(" | ")?;
                        }
                        f.write_str(stringify!($flag))?;
                        left &= !$value;
                        first = false;
                    }
                )*
                if left != 0 || first {
                    if !first {
                        f.write_str(" | ")?;
                    }
                    write!(f, "{left:#x}")?;
                }
                f.write_str(")")
            }
        }
    };
}

pub(crate) use flag_set;

flag_set! {
    /// What the two ends of a connection agreed on: "Capabilities Flags".
    Capabilities(u32) {
        /// Use the improved version of Old Password Authentication.
        CLIENT_LONG_PASSWORD = 1;
        /// `affected_rows` counts matched instead of changed rows.
        CLIENT_FOUND_ROWS = 1 << 1;
        /// Longer flags in column definitions.
        CLIENT_LONG_FLAG = 1 << 2;
        /// The handshake response names a database.
        CLIENT_CONNECT_WITH_DB = 1 << 3;
        /// Do not permit `database.table.column`.
        CLIENT_NO_SCHEMA = 1 << 4;
        /// zlib compression.
        CLIENT_COMPRESS = 1 << 5;
        /// ODBC behaviour; no effect since 3.22.
        CLIENT_ODBC = 1 << 6;
        /// LOAD DATA LOCAL is possible.
        CLIENT_LOCAL_FILES = 1 << 7;
        /// The parser ignores space before `(`.
        CLIENT_IGNORE_SPACE = 1 << 8;
        /// The 4.1 protocol, the only one we speak.
        CLIENT_PROTOCOL_41 = 1 << 9;
        /// `interactive_timeout` instead of `wait_timeout`.
        CLIENT_INTERACTIVE = 1 << 10;
        /// TLS follows the SSL request packet.
        CLIENT_SSL = 1 << 11;
        /// Do not raise SIGPIPE; means nothing on the wire.
        CLIENT_IGNORE_SIGPIPE = 1 << 12;
        /// Status flags in OK and EOF.
        CLIENT_TRANSACTIONS = 1 << 13;
        /// Old name of `CLIENT_PROTOCOL_41`.
        CLIENT_RESERVED = 1 << 14;
        /// 20-byte challenge and length-prefixed answer (old name: `CLIENT_SECURE_CONNECTION`).
        CLIENT_SECURE_CONNECTION = 1 << 15;
        /// Several statements in one command.
        CLIENT_MULTI_STATEMENTS = 1 << 16;
        /// Several results for one command.
        CLIENT_MULTI_RESULTS = 1 << 17;
        /// Several results and OUT parameters for prepared statements.
        CLIENT_PS_MULTI_RESULTS = 1 << 18;
        /// Authentication plugins by name.
        CLIENT_PLUGIN_AUTH = 1 << 19;
        /// Connection attributes in the handshake response.
        CLIENT_CONNECT_ATTRS = 1 << 20;
        /// The authentication answer's length is a length-encoded integer.
        CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA = 1 << 21;
        /// The client can handle an expired password.
        CLIENT_CAN_HANDLE_EXPIRED_PASSWORDS = 1 << 22;
        /// OK packets may carry session state.
        CLIENT_SESSION_TRACK = 1 << 23;
        /// OK instead of EOF after rows, nothing after column definitions.
        CLIENT_DEPRECATE_EOF = 1 << 24;
        /// Column definitions may be left out. We never negotiate it.
        CLIENT_OPTIONAL_RESULTSET_METADATA = 1 << 25;
        /// zstd compression.
        CLIENT_ZSTD_COMPRESSION_ALGORITHM = 1 << 26;
        /// Query attributes in COM_QUERY and COM_STMT_EXECUTE.
        CLIENT_QUERY_ATTRIBUTES = 1 << 27;
        /// Several authentication factors.
        MULTI_FACTOR_AUTHENTICATION = 1 << 28;
        /// Capability extension; unused.
        CLIENT_CAPABILITY_EXTENSION = 1 << 29;
        /// Verify the server certificate; means nothing on the wire.
        CLIENT_SSL_VERIFY_SERVER_CERT = 1 << 30;
        /// Keep options after a failed connect; means nothing on the wire.
        CLIENT_REMEMBER_OPTIONS = 1 << 31;
    }
}

flag_set! {
    /// Server status at the end of a result: `SERVER_STATUS_flags_enum`.
    Status(u16) {
        /// A transaction is open.
        SERVER_STATUS_IN_TRANS = 1;
        /// Autocommit is on.
        SERVER_STATUS_AUTOCOMMIT = 1 << 1;
        /// Another result follows for the same command.
        SERVER_MORE_RESULTS_EXISTS = 1 << 3;
        /// The plan used no good index.
        SERVER_STATUS_NO_GOOD_INDEX_USED = 1 << 4;
        /// The plan used no index.
        SERVER_STATUS_NO_INDEX_USED = 1 << 5;
        /// A read-only cursor was opened; rows come by COM_STMT_FETCH.
        SERVER_STATUS_CURSOR_EXISTS = 1 << 6;
        /// The cursor has no more rows.
        SERVER_STATUS_LAST_ROW_SENT = 1 << 7;
        /// A database was dropped.
        SERVER_STATUS_DB_DROPPED = 1 << 8;
        /// `sql_mode` has NO_BACKSLASH_ESCAPES.
        SERVER_STATUS_NO_BACKSLASH_ESCAPES = 1 << 9;
        /// A prepared statement must be prepared again.
        SERVER_STATUS_METADATA_CHANGED = 1 << 10;
        /// The query was slow.
        SERVER_QUERY_WAS_SLOW = 1 << 11;
        /// This result set holds OUT parameters.
        SERVER_PS_OUT_PARAMS = 1 << 12;
        /// The open transaction is read-only.
        SERVER_STATUS_IN_TRANS_READONLY = 1 << 13;
        /// The OK packet carries session state.
        SERVER_SESSION_STATE_CHANGED = 1 << 14;
    }
}

#[cfg(test)]
mod tests;
