//! Command bytes ("Command Phase") and the shape of each command's reply.

use super::exchange::ReplyShape;

macro_rules! commands {
    ($($(#[$meta:meta])* $name:ident = $byte:literal $manual:literal;)*) => {
        /// First byte of a command packet.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Command {
            $($(#[$meta])* $name = $byte,)*
        }

        impl Command {
            /// The command for a byte; `None` if the protocol knows none.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$name),)*
                    _ => None,
                }
            }

            /// The byte on the wire.
            #[must_use]
            pub const fn byte(self) -> u8 {
                match self {
                    $(Self::$name => $byte,)*
                }
            }

            /// The manual's name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $manual,)*
                }
            }
        }
    };
}

commands! {
    /// Internal to the server.
    Sleep = 0x00 "COM_SLEEP";
    /// The client says goodbye; no reply.
    Quit = 0x01 "COM_QUIT";
    /// Change the default schema.
    InitDb = 0x02 "COM_INIT_DB";
    /// A statement as text.
    Query = 0x03 "COM_QUERY";
    /// Column definitions of a table (deprecated).
    FieldList = 0x04 "COM_FIELD_LIST";
    /// Create a schema (removed).
    CreateDb = 0x05 "COM_CREATE_DB";
    /// Drop a schema (removed).
    DropDb = 0x06 "COM_DROP_DB";
    /// Flush or reset something (deprecated).
    Refresh = 0x07 "COM_REFRESH";
    /// Shut the server down (removed).
    Shutdown = 0x08 "COM_SHUTDOWN";
    /// A line of status text.
    Statistics = 0x09 "COM_STATISTICS";
    /// SHOW PROCESSLIST (deprecated).
    ProcessInfo = 0x0a "COM_PROCESS_INFO";
    /// Internal to the server.
    Connect = 0x0b "COM_CONNECT";
    /// KILL (deprecated).
    ProcessKill = 0x0c "COM_PROCESS_KILL";
    /// Dump debug information to the server's log.
    Debug = 0x0d "COM_DEBUG";
    /// Are you there?
    Ping = 0x0e "COM_PING";
    /// Internal to the server.
    Time = 0x0f "COM_TIME";
    /// Internal to the server.
    DelayedInsert = 0x10 "COM_DELAYED_INSERT";
    /// Authenticate again.
    ChangeUser = 0x11 "COM_CHANGE_USER";
    /// Stream the binary log.
    BinlogDump = 0x12 "COM_BINLOG_DUMP";
    /// Dump a table (removed).
    TableDump = 0x13 "COM_TABLE_DUMP";
    /// Internal to the server.
    ConnectOut = 0x14 "COM_CONNECT_OUT";
    /// Register as a replica.
    RegisterSlave = 0x15 "COM_REGISTER_SLAVE";
    /// Prepare a statement.
    StmtPrepare = 0x16 "COM_STMT_PREPARE";
    /// Execute a prepared statement.
    StmtExecute = 0x17 "COM_STMT_EXECUTE";
    /// Send a piece of a parameter; no reply.
    StmtSendLongData = 0x18 "COM_STMT_SEND_LONG_DATA";
    /// Forget a prepared statement; no reply.
    StmtClose = 0x19 "COM_STMT_CLOSE";
    /// Reset a prepared statement's parameters and cursor.
    StmtReset = 0x1a "COM_STMT_RESET";
    /// Switch multi-statements on or off.
    SetOption = 0x1b "COM_SET_OPTION";
    /// Fetch rows from a cursor.
    StmtFetch = 0x1c "COM_STMT_FETCH";
    /// Internal to the server.
    Daemon = 0x1d "COM_DAEMON";
    /// Stream the binary log by GTID.
    BinlogDumpGtid = 0x1e "COM_BINLOG_DUMP_GTID";
    /// Reset the session.
    ResetConnection = 0x1f "COM_RESET_CONNECTION";
    /// Clone plugin.
    Clone = 0x20 "COM_CLONE";
    /// Group replication.
    SubscribeGroupReplicationStream = 0x21 "COM_SUBSCRIBE_GROUP_REPLICATION_STREAM";
}

/// How a command has to be treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandKind {
    /// Relayed; the reply has this shape.
    Relayed(ReplyShape),
    /// A new connection phase inside the connection: COM_CHANGE_USER.
    Authentication,
    /// Internal to the server, removed, or a stream without an end (binary log, clone): never relayed.
    Refused,
}

impl Command {
    /// How this command has to be treated and what its reply looks like.
    #[must_use]
    pub const fn kind(self) -> CommandKind {
        match self {
            Self::Query | Self::ProcessInfo => CommandKind::Relayed(ReplyShape::Query),
            Self::FieldList => CommandKind::Relayed(ReplyShape::FieldList),
            Self::Statistics => CommandKind::Relayed(ReplyShape::Statistics),
            Self::StmtPrepare => CommandKind::Relayed(ReplyShape::Prepare),
            Self::StmtExecute => CommandKind::Relayed(ReplyShape::Execute),
            Self::StmtFetch => CommandKind::Relayed(ReplyShape::Fetch),
            Self::Quit | Self::StmtSendLongData | Self::StmtClose => {
                CommandKind::Relayed(ReplyShape::None)
            }
            Self::InitDb
            | Self::Refresh
            | Self::ProcessKill
            | Self::Debug
            | Self::Ping
            | Self::StmtReset
            | Self::SetOption
            | Self::ResetConnection => CommandKind::Relayed(ReplyShape::OkOrErr),
            Self::ChangeUser => CommandKind::Authentication,
            Self::Sleep
            | Self::CreateDb
            | Self::DropDb
            | Self::Shutdown
            | Self::Connect
            | Self::Time
            | Self::DelayedInsert
            | Self::BinlogDump
            | Self::TableDump
            | Self::ConnectOut
            | Self::RegisterSlave
            | Self::Daemon
            | Self::BinlogDumpGtid
            | Self::Clone
            | Self::SubscribeGroupReplicationStream => CommandKind::Refused,
        }
    }

    /// The shape of the reply, for commands that are relayed.
    #[must_use]
    pub const fn reply(self) -> Option<ReplyShape> {
        match self.kind() {
            CommandKind::Relayed(shape) => Some(shape),
            CommandKind::Authentication | CommandKind::Refused => None,
        }
    }
}

#[cfg(test)]
mod tests;
