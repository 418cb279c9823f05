//! The words of MySQL 9: which are keywords (`INFORMATION_SCHEMA.KEYWORDS`), which are one only in front of a parenthesis
//! (manual, "Function Name Parsing and Resolution"), which belong to optimizer hints, and how a digest spells those that have
//! several spellings. Tables built while compiling; no state.

use super::tokens::{FIRST_WORD, Token};

/// Keywords that are spelled in a digest as they are here.
const KEYWORDS: &str = "
    ABSENT ACCESSIBLE ACCOUNT ACTION ACTIVE ADD ADMIN AFTER AGAINST AGGREGATE ALGORITHM ALL ALLOW_MISSING_FILES ALTER
    ALWAYS ANALYZE AND ARRAY AS ASC ASCII ASENSITIVE ASSIGN_GTIDS_TO_ANONYMOUS_TRANSACTIONS AT ATTRIBUTE AUTHENTICATION
    AUTO AUTOEXTEND_SIZE AUTO_INCREMENT AUTO_REFRESH AUTO_REFRESH_SOURCE AVG AVG_ROW_LENGTH BACKUP BEFORE BEGIN BERNOULLI
    BETWEEN BINARY BINLOG BIT BLOB BLOCK BOOL BOOLEAN BOTH BTREE BUCKETS BULK BY BYTE CACHE CALL CASCADE CASCADED CASE
    CATALOG_NAME CHAIN CHALLENGE_RESPONSE CHANGE CHANGED CHANNEL CHARACTER CHARSET CHECK CHECKSUM CIPHER CLASS_ORIGIN
    CLIENT CLONE CLOSE COALESCE CODE COLLATE COLLATION COLUMN COLUMN_FORMAT COLUMN_NAME COMMENT COMMIT COMMITTED COMPACT
    COMPLETION COMPONENT COMPRESSED COMPRESSION CONCURRENT CONDITION CONNECTION CONSISTENT CONSTRAINT CONSTRAINT_CATALOG
    CONSTRAINT_NAME CONSTRAINT_SCHEMA CONTAINS CONTEXT CONTINUE CONVERT CPU CREATE CROSS CUBE CUME_DIST CURRENT
    CURRENT_USER CURSOR CURSOR_NAME DATA DATAFILE DATE DATETIME DAY_HOUR DAY_MICROSECOND DAY_MINUTE DAY_SECOND DEALLOCATE
    DECIMAL DECLARE DEFAULT DEFAULT_AUTH DEFINER DEFINITION DELAYED DELAY_KEY_WRITE DELETE DENSE_RANK DESC DESCRIPTION
    DETERMINISTIC DIAGNOSTICS DIRECTORY DISABLE DISCARD DISK DISTINCTROW DIV DO DROP DUAL DUALITY DUMPFILE DUPLICATE
    DYNAMIC EACH ELSE ELSEIF EMPTY ENABLE ENCLOSED ENCRYPTION END ENDS ENFORCED ENGINE ENGINES ENGINE_ATTRIBUTE ENUM ERROR
    ERRORS ESCAPE ESCAPED EVENT EVENTS EVERY EXCEPT EXCHANGE EXCLUDE EXECUTE EXISTS EXIT EXPANSION EXPIRE EXPLAIN EXPORT
    EXTENDED EXTENT_SIZE EXTERNAL EXTERNAL_FORMAT FACTOR FAILED_LOGIN_ATTEMPTS FALSE FAST FAULTS FETCH FIELDS FILE FILES
    FILE_BLOCK_SIZE FILE_FORMAT FILE_NAME FILE_PATTERN FILE_PREFIX FILTER FINISH FIRST FIRST_VALUE FIXED FLOAT4 FLOAT8
    FLUSH FOLLOWING FOLLOWS FOR FORCE FOREIGN FORMAT FOUND FROM FULL FULLTEXT FUNCTION GENERAL GENERATE GENERATED GEOMETRY
    GEOMETRYCOLLECTION GET GET_FORMAT GET_SOURCE_PUBLIC_KEY GLOBAL GRANT GRANTS GROUP GROUPING GROUPS GROUP_REPLICATION
    GTIDS GTID_ONLY GUIDED HANDLER HASH HAVING HEADER HELP HIGH_PRIORITY HISTOGRAM HISTORY HOST HOSTS HOUR_MICROSECOND
    HOUR_MINUTE HOUR_SECOND IDENTIFIED IF IGNORE IGNORE_SERVER_IDS IMPORT IN INACTIVE INDEX INDEXES INFILE INITIAL
    INITIAL_SIZE INITIATE INNER INOUT INSENSITIVE INSERT INSERT_METHOD INSTALL INSTANCE INT8 INTEGER INTERSECT INTERVAL
    INTO INVISIBLE INVOKER IO IO_AFTER_GTIDS IO_BEFORE_GTIDS IPC IS ISOLATION ISSUER ITERATE JOIN JSON JSON_TABLE
    JSON_VALUE KEY KEYRING KEYS KEY_BLOCK_SIZE KILL LAG LANGUAGE LAST LAST_VALUE LATERAL LEAD LEADING LEAVE LEAVES LEFT
    LESS LEVEL LIBRARY LIKE LIMIT LINEAR LINES LINESTRING LIST LOAD LOCAL LOCK LOCKED LOCKS LOG LOGFILE LOGS LONG LONGBLOB
    LONGTEXT LOOP LOW_PRIORITY MANUAL MASKING MASTER MATCH MATERIALIZED MAXVALUE MAX_CONNECTIONS_PER_HOUR
    MAX_QUERIES_PER_HOUR MAX_ROWS MAX_SIZE MAX_UPDATES_PER_HOUR MAX_USER_CONNECTIONS MEDIUM MEDIUMBLOB MEDIUMTEXT MEMBER
    MEMORY MERGE MESSAGE_TEXT MICROSECOND MIDDLEINT MIGRATE MINUTE_MICROSECOND MINUTE_SECOND MIN_ROWS MOD MODE MODIFIES
    MODIFY MULTILINESTRING MULTIPOINT MULTIPOLYGON MUTEX MYSQL_ERRNO NAME NAMES NATIONAL NATURAL NCHAR NDBCLUSTER NESTED
    NETWORK_NAMESPACE NEVER NEW NEXT NO NODEGROUP NONE NOT NOWAIT NO_WAIT NO_WRITE_TO_BINLOG NTH_VALUE NTILE NULL NULLS
    NUMBER NUMERIC NVARCHAR OF OFF OFFSET OJ OLD ON ONE ONLY OPEN OPTIMIZE OPTIMIZER_COSTS OPTION OPTIONAL OPTIONALLY
    OPTIONS OR ORDER ORDINALITY ORGANIZATION OTHERS OUT OUTER OUTFILE OVER OWNER PACK_KEYS PAGE PARALLEL PARAMETERS PARSER
    PARSE_TREE PARTIAL PARTITION PARTITIONING PARTITIONS PASSWORD PASSWORD_LOCK_TIME PATH PERCENT_RANK PERSIST
    PERSIST_ONLY PHASE PLUGIN PLUGINS PLUGIN_DIR POINT POLICY POLYGON PORT PRECEDES PRECEDING PRECISION PREPARE PRESERVE
    PREV PRIMARY PRIVILEGES PRIVILEGE_CHECKS_USER PROCEDURE PROCESS PROCESSLIST PROFILE PROFILES PROXY PURGE QUALIFY QUERY
    QUICK RANDOM RANGE RANK READ READS READ_ONLY READ_WRITE REAL REBUILD RECOVER RECURSIVE REDO_BUFFER_SIZE REDUNDANT
    REFERENCE REFERENCES REGISTRATION RELATIONAL RELAY RELAYLOG RELAY_LOG_FILE RELAY_LOG_POS RELAY_THREAD RELEASE RELOAD
    REMOVE RENAME REORGANIZE REPAIR REPEAT REPEATABLE REPLACE REPLICA REPLICAS REPLICATE_DO_DB REPLICATE_DO_TABLE
    REPLICATE_IGNORE_DB REPLICATE_IGNORE_TABLE REPLICATE_REWRITE_DB REPLICATE_WILD_DO_TABLE REPLICATE_WILD_IGNORE_TABLE
    REPLICATION REQUIRE REQUIRE_ROW_FORMAT REQUIRE_TABLE_PRIMARY_KEY_CHECK RESET RESIGNAL RESOURCE RESPECT RESTART RESTORE
    RESTRICT RESUME RETAIN RETURN RETURNED_SQLSTATE RETURNING RETURNS REUSE REVERSE REVOKE RIGHT RLIKE ROLE ROLLBACK
    ROLLUP ROTATE ROUTINE ROW ROWS ROW_COUNT ROW_FORMAT ROW_NUMBER RTREE S3 SAVEPOINT SCHEDULE SCHEMA SCHEMAS SCHEMA_NAME
    SECONDARY SECONDARY_ENGINE SECONDARY_ENGINE_ATTRIBUTE SECONDARY_LOAD SECONDARY_UNLOAD SECOND_MICROSECOND SECURITY
    SELECT SENSITIVE SEPARATOR SERIAL SERIALIZABLE SERVER SESSION SET SETS SHARE SHOW SHUTDOWN SIGNAL SIGNED SIMPLE SKIP
    SLAVE SLOW SMALLINT SNAPSHOT SOCKET SOME SONAME SOUNDS SOURCE SOURCE_AUTO_POSITION SOURCE_BIND
    SOURCE_COMPRESSION_ALGORITHMS SOURCE_CONNECTION_AUTO_FAILOVER SOURCE_CONNECT_RETRY SOURCE_DELAY
    SOURCE_HEARTBEAT_PERIOD SOURCE_HOST SOURCE_LOG_FILE SOURCE_LOG_POS SOURCE_PASSWORD SOURCE_PORT SOURCE_PUBLIC_KEY_PATH
    SOURCE_RETRY_COUNT SOURCE_SSL SOURCE_SSL_CA SOURCE_SSL_CAPATH SOURCE_SSL_CERT SOURCE_SSL_CIPHER SOURCE_SSL_CRL
    SOURCE_SSL_CRLPATH SOURCE_SSL_KEY SOURCE_SSL_VERIFY_SERVER_CERT SOURCE_TLS_CIPHERSUITES SOURCE_TLS_VERSION SOURCE_USER
    SOURCE_ZSTD_COMPRESSION_LEVEL SPATIAL SPECIFIC SQL SQLEXCEPTION SQLSTATE SQLWARNING SQL_AFTER_GTIDS SQL_AFTER_MTS_GAPS
    SQL_BEFORE_GTIDS SQL_BIG_RESULT SQL_BUFFER_RESULT SQL_CALC_FOUND_ROWS SQL_NO_CACHE SQL_SMALL_RESULT SQL_THREAD
    SQL_TSI_DAY SQL_TSI_HOUR SQL_TSI_MINUTE SQL_TSI_MONTH SQL_TSI_QUARTER SQL_TSI_SECOND SRID SSL STACKED START STARTING
    STARTS STATS_AUTO_RECALC STATS_PERSISTENT STATS_SAMPLE_PAGES STATUS STOP STORAGE STORED STRAIGHT_JOIN STREAM
    STRICT_LOAD STRING SUBCLASS_ORIGIN SUBJECT SUBPARTITION SUBPARTITIONS SUPER SUSPEND SWAPS SWITCHES SYSTEM TABLE TABLES
    TABLESAMPLE TABLESPACE TABLE_CHECKSUM TABLE_NAME TEMPORARY TEMPTABLE TERMINATED TEXT THAN THEN THREAD_PRIORITY TIES
    TIME TIMESTAMP TIMESTAMPADD TIMESTAMPDIFF TINYBLOB TINYINT TINYTEXT TLS TO TRAILING TRANSACTION TRIGGER TRIGGERS TRUE
    TRUNCATE TYPE TYPES UNBOUNDED UNCOMMITTED UNDEFINED UNDO UNDOFILE UNDO_BUFFER_SIZE UNICODE UNINSTALL UNION UNIQUE
    UNKNOWN UNLOCK UNREGISTER UNSIGNED UNTIL UPDATE UPGRADE URI URL USAGE USE USER_RESOURCES USE_FRM USING UTC_DATE
    UTC_TIME UTC_TIMESTAMP VALIDATE VALIDATION VALUE VALUES VARBINARY VARCHARACTER VARIABLES VARYING VCPU VECTOR
    VERIFY_KEY_CONSTRAINTS VIEW VIRTUAL VISIBLE WAIT WARNINGS WEEK WEIGHT_STRING WHEN WHERE WHILE WINDOW WITH WITHOUT WORK
    WRAPPER WRITE X509 XA XID XML XOR YEAR YEAR_MONTH ZEROFILL ZONE
";

/// Other spellings of keywords and how a digest spells them.
const SYNONYMS: [(&str, &str); 36] = [
    ("ANY", "SOME"),
    ("BIGINT", "INT8"),
    ("CHAR", "CHARACTER"),
    ("COLUMNS", "FIELDS"),
    ("CURRENT_DATE", "CURDATE"),
    ("CURRENT_TIME", "CURTIME"),
    ("CURRENT_TIMESTAMP", "NOW"),
    ("DATABASE", "SCHEMA"),
    ("DATABASES", "SCHEMAS"),
    ("DAY", "SQL_TSI_DAY"),
    ("DEC", "DECIMAL"),
    ("DESCRIBE", "EXPLAIN"),
    ("DISTINCT", "DISTINCTROW"),
    ("DOUBLE", "FLOAT8"),
    ("FLOAT", "FLOAT4"),
    ("GEOMCOLLECTION", "GEOMETRYCOLLECTION"),
    ("HOUR", "SQL_TSI_HOUR"),
    ("INT", "INTEGER"),
    ("INT1", "TINYINT"),
    ("INT2", "SMALLINT"),
    ("INT3", "MIDDLEINT"),
    ("INT4", "INTEGER"),
    ("IO_THREAD", "RELAY_THREAD"),
    ("LOCALTIME", "NOW"),
    ("LOCALTIMESTAMP", "NOW"),
    ("MEDIUMINT", "MIDDLEINT"),
    ("MINUTE", "SQL_TSI_MINUTE"),
    ("MONTH", "SQL_TSI_MONTH"),
    ("NDB", "NDBCLUSTER"),
    ("QUARTER", "SQL_TSI_QUARTER"),
    ("REGEXP", "RLIKE"),
    ("SECOND", "SQL_TSI_SECOND"),
    ("SQL_TSI_WEEK", "WEEK"),
    ("SQL_TSI_YEAR", "YEAR"),
    ("USER", "SYSTEM_USER"),
    ("VARCHAR", "VARCHARACTER"),
];

/// Keywords only where a parenthesis follows at once.
const FUNCTIONS: &str = "
    ADDDATE BIT_AND BIT_OR BIT_XOR CAST COUNT CURDATE CURTIME DATE_ADD DATE_SUB EXTRACT GROUP_CONCAT JSON_DUALITY_OBJECT
    JSON_OBJECTAGG JSON_ARRAYAGG MAX MIN NOW POSITION STDDEV_POP STDDEV_SAMP ST_COLLECT SUBDATE SUBSTRING SUM SYSDATE
    SYSTEM_USER TRIM VAR_POP VAR_SAMP
";

/// Other spellings of those.
const FUNCTION_SYNONYMS: [(&str, &str); 6] = [
    ("MID", "SUBSTRING"),
    ("SESSION_USER", "SYSTEM_USER"),
    ("STD", "STDDEV_POP"),
    ("STDDEV", "STDDEV_POP"),
    ("SUBSTR", "SUBSTRING"),
    ("VARIANCE", "VAR_POP"),
];

/// Words of optimizer hints; anything else in a hint is a name.
const HINTS: &str = "
    BKA BNL DUPSWEEDOUT FIRSTMATCH INTOEXISTS LOOSESCAN MATERIALIZATION MAX_EXECUTION_TIME NO_BKA NO_BNL NO_ICP NO_MRR
    NO_RANGE_OPTIMIZATION NO_SEMIJOIN MRR QB_NAME SEMIJOIN SET_VAR SUBQUERY MERGE NO_MERGE JOIN_PREFIX JOIN_SUFFIX
    JOIN_ORDER JOIN_FIXED_ORDER INDEX_MERGE NO_INDEX_MERGE RESOURCE_GROUP SKIP_SCAN NO_SKIP_SCAN HASH_JOIN NO_HASH_JOIN
    INDEX NO_INDEX JOIN_INDEX NO_JOIN_INDEX GROUP_INDEX NO_GROUP_INDEX ORDER_INDEX NO_ORDER_INDEX
    DERIVED_CONDITION_PUSHDOWN NO_DERIVED_CONDITION_PUSHDOWN
";

/// Keywords behind which `/*+ ... */` is a hint.
const HINTABLE: &str = "DELETE INSERT REPLACE SELECT UPDATE";

/// Words behind which an expression begins, as far as the server knows: a sign in front of a number there belongs to the number.
const STARTS_EXPRESSION: &str = "
    EVERY AT STARTS ENDS DEFAULT RETURN IF ELSEIF CASE WHEN THEN ELSE WHILE UNTIL SELECT OR XOR AND NOT BETWEEN LIKE RLIKE
    INTERVAL DIV MOD
";

/// Words behind which no expression can begin, so that a NULL there is no value: types and attributes of columns, and the
/// like. NOT and BINARY stand for what is in front of them.
const ENDS_OPERAND: &str = "
    INT8 BIT BLOB BOOL BOOLEAN CHARACTER DATE DATETIME DECIMAL FLOAT8 PRECISION FIXED FLOAT4 GEOMETRY GEOMETRYCOLLECTION
    INTEGER JSON LINESTRING LONG LONGBLOB LONGTEXT MEDIUMBLOB MIDDLEINT MEDIUMTEXT MULTILINESTRING MULTIPOINT MULTIPOLYGON
    NCHAR NUMERIC NVARCHAR POINT POLYGON REAL SERIAL SIGNED SMALLINT TEXT TIME TIMESTAMP TINYBLOB TINYINT TINYTEXT VARBINARY
    VARCHARACTER VARYING VECTOR YEAR UNSIGNED ZEROFILL ASCII UNICODE BYTE AUTO_INCREMENT UNIQUE KEY PRIMARY VISIBLE INVISIBLE
    VIRTUAL STORED ENFORCED EMPTY ERROR NULL TRUE FALSE NOW DISK MEMORY DYNAMIC CASCADE RESTRICT ACTION END IS SET
";

/// Words that end a list behind ORDER BY, GROUP BY or PARTITION BY.
const ENDS_LIST: &str = "
    LIMIT HAVING FOR INTO WINDOW ROWS RANGE GROUPS UNION EXCEPT INTERSECT WITH SEPARATOR LOCK QUALIFY ORDER ON PROCEDURE
    OFFSET RETURNING AS
";

/// What a token's word means for the tokens behind it.
pub(super) const STARTS: u8 = 1;
/// See [`ENDS_OPERAND`].
pub(super) const ENDS: u8 = 1 << 1;
/// See [`ENDS_LIST`].
pub(super) const LIST_END: u8 = 1 << 2;
/// See [`HINTABLE`].
pub(super) const TAKES_HINTS: u8 = 1 << 3;

/// A word found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) token: Token,
    /// Only in front of a parenthesis.
    pub(super) is_function: bool,
}

/// Slots of a table: a power of two, several times the words.
const SLOTS: usize = 4096;

#[derive(Debug, Clone, Copy)]
struct Slot {
    text: &'static str,
    word: Word,
}

const NO_WORD: Word = Word {
    token: 0,
    is_function: false,
};
const EMPTY: Slot = Slot {
    text: "",
    word: NO_WORD,
};

/// How many words the lists hold.
const COUNT: usize = count(KEYWORDS) + count(FUNCTIONS) + count(HINTS);

#[derive(Debug)]
struct Tables {
    main: [Slot; SLOTS],
    hints: [Slot; 256],
    texts: [&'static str; COUNT],
    flags: [u8; COUNT],
}

const BUILT: Tables = build();
static TABLES: Tables = BUILT;

const fn count(mut list: &str) -> usize {
    let mut count = 0;
    loop {
        let (word, rest) = first(list);
        if word.is_empty() {
            return count;
        }
        count += 1;
        list = rest;
    }
}

/// The first word and the rest.
const fn first(list: &str) -> (&str, &str) {
    let list = list.trim_ascii_start();
    let bytes = list.as_bytes();
    let mut len = 0;
    while len < bytes.len() && !at(bytes, len).is_ascii_whitespace() {
        len += 1;
    }
    list.split_at(len)
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn at(bytes: &[u8], index: usize) -> u8 {
    bytes[index]
}

/// Folds the case of letters; the few other bytes this joins only cost a comparison.
const fn hash(mut text: &[u8]) -> usize {
    let mut hash: u64 = text.len() as u64;
    while let [byte, rest @ ..] = text {
        hash = (hash.rotate_left(5) ^ (*byte | 0x20) as u64).wrapping_mul(0x517C_C1B7_2722_0A95);
        text = rest;
    }
    (hash >> 48) as usize
}

const fn same(one: &str, other: &str) -> bool {
    one.as_bytes().eq_ignore_ascii_case(other.as_bytes())
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn insert<const N: usize>(table: &mut [Slot; N], text: &'static str, word: Word) {
    let mut slot = hash(text.as_bytes()) % N;
    while !table[slot].text.is_empty() {
        slot = (slot + 1) % N;
    }
    table[slot] = Slot { text, word };
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated while compiling, or an index below the length"
)]
const fn find<const N: usize>(table: &[Slot; N], text: &[u8]) -> Option<Word> {
    let mut slot = hash(text) % N;
    loop {
        let found = &table[slot];
        if found.text.is_empty() {
            return None;
        }
        if found.text.as_bytes().eq_ignore_ascii_case(text) {
            return Some(found.word);
        }
        slot = (slot + 1) % N;
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn mark(tables: &mut Tables, mut list: &str, flag: u8) {
    loop {
        let (word, rest) = first(list);
        if word.is_empty() {
            return;
        }
        let mut index = 0;
        while !same(tables.texts[index], word) {
            index += 1;
        }
        tables.flags[index] |= flag;
        list = rest;
    }
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn fill(tables: &mut Tables, mut list: &'static str, start: usize, is_function: bool) {
    let mut index = start;
    loop {
        let (text, rest) = first(list);
        if text.is_empty() {
            return;
        }
        tables.texts[index] = text;
        let word = Word {
            token: FIRST_WORD + index as Token,
            is_function,
        };
        insert(&mut tables.main, text, word);
        index += 1;
        list = rest;
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn alias<const N: usize>(
    table: &mut [Slot; SLOTS],
    pairs: [(&'static str, &'static str); N],
    is_function: bool,
) {
    let mut index = 0;
    while index < N {
        let (text, canonical) = pairs[index];
        let Some(word) = find(table, canonical.as_bytes()) else {
            return;
        };
        let word = Word {
            token: word.token,
            is_function,
        };
        insert(table, text, word);
        index += 1;
    }
}

#[expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn build() -> Tables {
    let mut tables = Tables {
        main: [EMPTY; SLOTS],
        hints: [EMPTY; 256],
        texts: [""; COUNT],
        flags: [0; COUNT],
    };
    fill(&mut tables, KEYWORDS, 0, false);
    fill(&mut tables, FUNCTIONS, count(KEYWORDS), true);
    alias(&mut tables.main, SYNONYMS, false);
    alias(&mut tables.main, FUNCTION_SYNONYMS, true);
    let mut index = COUNT - count(HINTS);
    let mut list = HINTS;
    while index < COUNT {
        let (text, rest) = first(list);
        tables.texts[index] = text;
        let word = Word {
            token: FIRST_WORD + index as Token,
            is_function: false,
        };
        insert(&mut tables.hints, text, word);
        index += 1;
        list = rest;
    }
    mark(&mut tables, STARTS_EXPRESSION, STARTS);
    mark(&mut tables, ENDS_OPERAND, ENDS);
    mark(&mut tables, ENDS_LIST, LIST_END);
    mark(&mut tables, HINTABLE, TAKES_HINTS);
    tables
}

/// The keyword or function that `text` is, in any case.
pub(super) fn lookup(text: &[u8]) -> Option<Word> {
    find(&TABLES.main, text)
}

/// The word of an optimizer hint that `text` is.
pub(super) fn lookup_hint(text: &[u8]) -> Option<Token> {
    find(&TABLES.hints, text).map(|word| word.token)
}

/// The token of a keyword, for constants: a word that is none does not compile where it must not.
pub(super) const fn token(text: &str) -> Token {
    match find(&BUILT.main, text.as_bytes()) {
        Some(word) => word.token,
        None => 0,
    }
}

fn index(token: Token) -> Option<usize> {
    usize::from(token).checked_sub(usize::from(FIRST_WORD))
}

/// How a digest spells a token that is a word.
pub(super) fn text(token: Token) -> Option<&'static str> {
    index(token).and_then(|index| TABLES.texts.get(index).copied())
}

/// What is known of a token that is a word.
pub(super) fn flags(token: Token) -> u8 {
    index(token).map_or(0, |index| {
        TABLES.flags.get(index).copied().unwrap_or_default()
    })
}

/// Character sets that may stand behind an underscore in front of a string: `INFORMATION_SCHEMA.CHARACTER_SETS` and `utf8`.
const CHARACTER_SETS: [&str; 42] = [
    "armscii8", "ascii", "big5", "binary", "cp1250", "cp1251", "cp1256", "cp1257", "cp850",
    "cp852", "cp866", "cp932", "dec8", "eucjpms", "euckr", "gb18030", "gb2312", "gbk", "geostd8",
    "greek", "hebrew", "hp8", "keybcs2", "koi8r", "koi8u", "latin1", "latin2", "latin5", "latin7",
    "macce", "macroman", "sjis", "swe7", "tis620", "ucs2", "ujis", "utf16", "utf16le", "utf32",
    "utf8", "utf8mb3", "utf8mb4",
];

/// Whether `word` is an underscore and a character set.
pub(super) fn is_introducer(word: &[u8]) -> bool {
    word.strip_prefix(b"_").is_some_and(|name| {
        CHARACTER_SETS
            .iter()
            .any(|known| known.as_bytes().eq_ignore_ascii_case(name))
    })
}
