//! Words in front of a `(`: the built-in functions of the MySQL manual ("Built-In Function and Operator Reference") that
//! have no side effects, those that have, and the keywords that a parenthesis may follow. What is not here is taken for a
//! stored or loadable function, which may write.

use super::Traits;

const NONE: Traits = Traits::empty();

/// Functions whose effect or value belongs to a session or a server.
const SPECIAL: [(&str, Traits); 20] = [
    ("benchmark", Traits::SLEEP),
    ("connection_id", Traits::CONNECTION_ID),
    ("found_rows", Traits::FOUND_ROWS),
    ("get_lock", Traits::LOCK_FUNCTION),
    ("is_free_lock", Traits::SERVER_SPECIFIC),
    ("is_used_lock", Traits::SERVER_SPECIFIC),
    ("last_insert_id", Traits::LAST_INSERT_ID),
    ("load_file", Traits::SERVER_SPECIFIC),
    ("master_pos_wait", Traits::SERVER_SPECIFIC),
    // of component_query_attributes
    ("mysql_query_attribute_string", Traits::SERVER_SPECIFIC),
    ("ps_current_thread_id", Traits::SERVER_SPECIFIC),
    ("ps_thread_id", Traits::SERVER_SPECIFIC),
    ("release_all_locks", Traits::RELEASE_LOCK_FUNCTION),
    ("release_lock", Traits::RELEASE_LOCK_FUNCTION),
    ("row_count", Traits::ROW_COUNT),
    ("sleep", Traits::SLEEP),
    ("source_pos_wait", Traits::SERVER_SPECIFIC),
    ("uuid_short", Traits::SERVER_SPECIFIC),
    ("wait_for_executed_gtid_set", Traits::SERVER_SPECIFIC),
    ("wait_until_sql_thread_after_gtids", Traits::SERVER_SPECIFIC),
];

/// Keywords that may stand in front of a parenthesis in a query or a change of data: clauses, operators, types of CAST and
/// JSON_TABLE, window and index syntax.
const KEYWORDS: &str = "
    all and any array as asc between binary by case char character charset collate columns convert cross cube cast
    date datetime decimal dec default delete desc describe distinct distinctrow div do double else end escape except exists
    explain fetch fields first fixed float for force from full group grouping having if ignore in index inner insert int
    integer intersect interval into is join json key keys lateral left like limit lines match minus mod natural nchar
    nested not null nulls numeric of offset on or order ordinality outer over partition path procedure range real
    recursive regexp replace return returning right rlike rollup row rows select separator set signed sounds straight_join
    table tablesample then time to top union unsigned update use using value values varchar varbinary varying when where
    window with xor year against signed tinyint smallint mediumint bigint text tinytext mediumtext longtext blob tinyblob
    mediumblob longblob bit boolean bool enum point linestring polygon multipoint multilinestring multipolygon
    geometrycollection geomcollection vector cume_dist dense_rank first_value lag last_value lead nth_value ntile
    percent_rank rank row_number
";

/// Built-in functions without side effects whose value a replica gives as well as the primary.
const PURE: &str = "
    abs acos adddate addtime aes_decrypt aes_encrypt any_value ascii asin atan atan2 avg bin bin_to_uuid bit_and bit_count
    bit_length bit_or bit_xor ceil ceiling char_length character_length charset coalesce coercibility collation compress
    concat concat_ws conv convert_tz cos cot count crc32 curdate current_date current_role current_time current_timestamp
    current_user curtime database date_add date_format date_sub datediff day dayname dayofmonth dayofweek dayofyear degrees
    elt exp export_set extract extractvalue field find_in_set floor format format_bytes format_pico_time from_base64
    from_days from_unixtime get_format greatest group_concat gtid_subset gtid_subtract hex hour icu_version ifnull
    inet_aton inet_ntoa inet6_aton inet6_ntoa instr is_ipv4 is_ipv4_compat is_ipv4_mapped is_ipv6 is_uuid isnull
    json_array json_array_append json_array_insert json_arrayagg json_contains json_contains_path json_depth json_extract
    json_insert json_keys json_length json_merge json_merge_patch json_merge_preserve json_object json_objectagg
    json_overlaps json_pretty json_quote json_remove json_replace json_schema_valid json_schema_validation_report
    json_search json_set json_storage_free json_storage_size json_table json_type json_unquote json_valid json_value
    json_exists json_query json_detailed json_loose json_compact json_normalize json_equals
    last_day lcase least length ln localtime localtimestamp locate log log10 log2 lower lpad ltrim make_set makedate maketime
    max md5 microsecond mid min minute month monthname name_const now nullif oct octet_length ord period_add period_diff pi
    position pow power quarter quote radians rand random_bytes regexp_instr regexp_like regexp_replace regexp_substr repeat
    reverse round rpad rtrim schema sec_to_time second session_user sha sha1 sha2 sign sin soundex space sqrt
    statement_digest statement_digest_text std stddev stddev_pop stddev_samp str_to_date strcmp subdate substr substring
    substring_index subtime sum sysdate system_user tan time_format time_to_sec timediff timestamp timestampadd timestampdiff
    to_base64 to_days to_seconds trim truncate ucase uncompress uncompressed_length unhex unix_timestamp updatexml upper
    user utc_date utc_time utc_timestamp uuid uuid_to_bin validate_password_strength var_pop var_samp variance version
    week weekday weekofyear weight_string yearweek roles_graphml string_to_vector vector_to_string vector_dim distance
    mbrcontains mbrcoveredby mbrcovers mbrdisjoint mbrequals mbrintersects mbroverlaps mbrtouches mbrwithin
    st_area st_asbinary st_asgeojson st_astext st_aswkb st_aswkt st_buffer st_buffer_strategy st_centroid st_collect
    st_contains st_convexhull st_crosses st_difference st_dimension st_disjoint st_distance st_distance_sphere st_endpoint
    st_envelope st_equals st_exteriorring st_frechetdistance st_geohash st_geomcollfromtext st_geomcollfromtxt
    st_geomcollfromwkb st_geometryn st_geometrytype st_geomfromgeojson st_geomfromtext st_geomfromwkb
    st_hausdorffdistance st_interiorringn st_intersection st_intersects st_isclosed st_isempty st_issimple st_isvalid
    st_latfromgeohash st_latitude st_length st_linefromtext st_linefromwkb st_lineinterpolatepoint
    st_lineinterpolatepoints st_longfromgeohash st_longitude st_makeenvelope st_mlinefromtext st_mlinefromwkb
    st_mpointfromtext st_mpointfromwkb st_mpolyfromtext st_mpolyfromwkb st_numgeometries st_numinteriorring
    st_numinteriorrings st_numpoints st_overlaps st_pointatdistance st_pointfromgeohash st_pointfromtext st_pointfromwkb
    st_pointn st_polyfromtext st_polyfromwkb st_simplify st_srid st_startpoint st_swapxy st_symdifference st_touches
    st_transform st_union st_validate st_within st_x st_y
";

/// Slots of the table: a power of two, more than twice the words.
const SLOTS: usize = 2048;
const LONGEST: usize = 40;

/// Open addressing over all words above, built while compiling. A slot holds where a word lies in its list.
static TABLE: [Slot; SLOTS] = build();

#[derive(Debug, Clone, Copy)]
struct Slot {
    word: &'static str,
    traits: Traits,
}

const fn hash(text: &[u8]) -> usize {
    let mut hash: u32 = 0x811C_9DC5;
    let mut rest = text;
    while let [byte, tail @ ..] = rest {
        // Folds the case of letters; the few other bytes this joins only cost a comparison.
        hash = (hash ^ (*byte | 0x20) as u32).wrapping_mul(0x0100_0193);
        rest = tail;
    }
    (hash ^ (hash >> 15)) as usize % SLOTS
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn insert(table: &mut [Slot; SLOTS], word: &'static str, traits: Traits) {
    let mut slot = hash(word.as_bytes());
    while !table[slot].word.is_empty() {
        slot = (slot + 1) % SLOTS;
    }
    table[slot] = Slot { word, traits };
}

const fn insert_all(table: &mut [Slot; SLOTS], words: &'static str) {
    let mut rest = words;
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return;
        }
        let bytes = rest.as_bytes();
        let mut len = 0;
        while len < bytes.len() && !byte_at(bytes, len).is_ascii_whitespace() {
            len += 1;
        }
        let (word, tail) = rest.split_at(len);
        insert(table, word, NONE);
        rest = tail;
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn byte_at(bytes: &[u8], at: usize) -> u8 {
    bytes[at]
}

#[expect(
    clippy::indexing_slicing,
    reason = "evaluated while compiling: an index out of bounds does not compile"
)]
const fn build() -> [Slot; SLOTS] {
    let mut table = [Slot {
        word: "",
        traits: NONE,
    }; SLOTS];
    let special = SPECIAL;
    let mut at = 0;
    while at < special.len() {
        insert(&mut table, special[at].0, special[at].1);
        at += 1;
    }
    insert_all(&mut table, KEYWORDS);
    insert_all(&mut table, PURE);
    table
}

/// What a word in front of a parenthesis brings: `None` if it is not known.
pub(super) fn callable(word: &[u8]) -> Option<Traits> {
    if word.len() > LONGEST {
        return None;
    }
    let mut slot = hash(word);
    loop {
        let found = TABLE.get(slot)?;
        if found.word.is_empty() {
            return None;
        }
        if found.word.as_bytes().eq_ignore_ascii_case(word) {
            return Some(found.traits);
        }
        slot = (slot + 1) % SLOTS;
    }
}
