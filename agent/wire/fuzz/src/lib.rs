//! Bodies of the fuzz targets, as plain functions over bytes: each panics when a promise of the wire crate is broken.

use bytes::BytesMut;
use lamplighter_wire::mysql::auth::AuthPlugin;
use lamplighter_wire::mysql::exchange::{Event, Exchange, Fed, ReplyShape};
use lamplighter_wire::mysql::flags::Capabilities;
use lamplighter_wire::mysql::gtid::{GtidSet, Interval};
use lamplighter_wire::mysql::handshake::{
    AuthMoreData, AuthSwitchRequest, Greeting, HandshakeResponse, SslRequest,
};
use lamplighter_wire::mysql::packet::{self, HEADER_LEN, Header, Reader};
use lamplighter_wire::mysql::request::{RequestScanner, payload_prefix};
use lamplighter_wire::mysql::response::{EofPacket, ErrPacket, OkPacket, SessionTrack};
use lamplighter_wire::redis::reply::{ReplyScanner, elements as redis_reply_elements};
use lamplighter_wire::redis::request::{
    Progress, RequestError, RequestScanner as RedisScanner, inline_arguments,
};
use lamplighter_wire::sql::digest::{Digest, Mode};
use lamplighter_wire::sql::{self, LexMode};

const SHAPES: [ReplyShape; 8] = [
    ReplyShape::Query,
    ReplyShape::Execute,
    ReplyShape::Prepare,
    ReplyShape::OkOrErr,
    ReplyShape::Fetch,
    ReplyShape::FieldList,
    ReplyShape::Statistics,
    ReplyShape::None,
];

/// First byte of the input of [`exchange`]: bits 0 to 2 the shape, bits 3 and 4 the client's CLIENT_DEPRECATE_EOF and
/// CLIENT_SESSION_TRACK, bits 5 and 6 the server's. Second byte: where the input is cut in two.
fn capabilities(bits: u8) -> Capabilities {
    let mut set = Capabilities::CLIENT_PROTOCOL_41 | Capabilities::CLIENT_LOCAL_FILES;
    if bits & 1 != 0 {
        set |= Capabilities::CLIENT_DEPRECATE_EOF;
    }
    if bits & 2 != 0 {
        set |= Capabilities::CLIENT_SESSION_TRACK;
    }
    set
}

/// However a reply is cut, the client gets the same bytes and the end is found at the same place; a completion comes only
/// with the last byte; what the client got is itself a reply of the same shape that it can follow.
pub fn exchange(data: &[u8]) {
    let [options, cut, input @ ..] = data else {
        return;
    };
    let shape = SHAPES[usize::from(options & 7)];
    let (client, server) = (capabilities(options >> 3), capabilities(options >> 5));
    let mut whole_out = BytesMut::new();
    let whole = Exchange::new(shape, client, server).feed(input, &mut whole_out);

    let cut = usize::from(*cut).min(input.len());
    let (start, end) = input.split_at(cut);
    let mut parts_out = BytesMut::new();
    let mut exchange = Exchange::new(shape, client, server);
    let first = exchange.feed(start, &mut parts_out);
    let parts = match first {
        Ok(Fed {
            event: Event::NeedMore,
            ..
        }) => exchange.feed(end, &mut parts_out),
        other => {
            assert!(
                end.is_empty() || other.is_err() || whole.is_err(),
                "complete before the end"
            );
            return;
        }
    };
    match (whole, parts) {
        (Ok(whole), Ok(parts)) => {
            assert_eq!(whole.event, parts.event);
            assert_eq!(whole_out, parts_out);
            if let Event::Done(_) = whole.event {
                let again =
                    Exchange::new(shape, client, client).feed(&whole_out, &mut BytesMut::new());
                assert!(
                    matches!(
                        again,
                        Ok(Fed {
                            event: Event::Done(_),
                            ..
                        })
                    ),
                    "{again:?}"
                );
            }
        }
        (Err(_), Err(_)) => {}
        (whole, parts) => panic!("whole {whole:?} in parts {parts:?}"),
    }
}

/// What was parsed can be written, and is then parsed as the same again.
pub fn handshake(data: &[u8]) {
    let body = |write: &dyn Fn(&mut BytesMut, &mut u8)| {
        let mut out = BytesMut::new();
        write(&mut out, &mut 0);
        out.split_off(HEADER_LEN)
    };
    if let Ok(greeting) = Greeting::parse(data) {
        let again =
            Greeting::parse(&body(&|out, seq| greeting.encode(out, seq))).expect("a greeting");
        assert_eq!(greeting.nonce, again.nonce);
        assert_eq!(greeting.capabilities, again.capabilities);
    }
    if let Ok(response) = HandshakeResponse::parse(data) {
        let bytes = body(&|out, seq| response.encode(out, seq));
        let again = HandshakeResponse::parse(&bytes);
        // A name with a zero byte, which only a last field without its own can have, is cut there.
        let has_zero = |name: &[u8]| name.contains(&0);
        let cut = response
            .auth_plugin
            .as_ref()
            .is_some_and(|plugin| has_zero(plugin.name()))
            || response.database.as_deref().is_some_and(has_zero);
        let legacy = !response.capabilities.intersects(
            Capabilities::CLIENT_SECURE_CONNECTION
                | Capabilities::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA,
        );
        if !cut && !legacy && bytes.len() != 32 {
            let again = again.expect("a response");
            assert_eq!(response.username, again.username);
            assert_eq!(response.auth_response, again.auth_response);
            assert_eq!(response.database, again.database);
            assert_eq!(response.attributes, again.attributes);
        }
    }
    if let Ok(request) = AuthSwitchRequest::parse(data) {
        assert_ne!(
            request.plugin,
            AuthPlugin::Other(bytes::Bytes::from_static(b"mysql_native_password"))
        );
    }
    let _ = SslRequest::parse(data);
    let _ = AuthMoreData::parse(data);
}

/// Readers never read beyond a packet; what is written splits into the packets it should.
pub fn packet(data: &[u8]) {
    let mut reader = Reader::new(data);
    while !reader.is_empty() {
        let before = reader.remaining();
        let failed = match before % 5 {
            0 => reader.lenenc_bytes().is_err(),
            1 => reader.nul_bytes().is_err(),
            2 => reader.u24().is_err(),
            3 => reader.lenenc_int().is_err(),
            _ => reader.u64().is_err(),
        };
        if failed && reader.remaining() == before {
            break;
        }
    }
    let (mut out, mut seq) = (BytesMut::new(), 0);
    packet::write(&mut out, &mut seq, data);
    assert_eq!(
        Header::parse(&out),
        Some(Header {
            len: data.len(),
            seq: 0
        })
    );
    assert_eq!(&out[HEADER_LEN..], data);
    let _ = OkPacket::parse(data, Capabilities::CLIENT_SESSION_TRACK);
    let _ = OkPacket::parse(data, Capabilities::empty());
    let _ = ErrPacket::parse(data);
    let _ = EofPacket::parse(data);
}

/// A command ends at the same byte however it is cut, and its prefix is what the packets hold.
pub fn request(data: &[u8]) {
    let whole = RequestScanner::new().feed(data);
    let mut scanner = RequestScanner::new();
    let mut consumed = 0;
    let mut result = Ok(());
    for byte in data.chunks(1) {
        match scanner.feed(byte) {
            Ok(scanned) => consumed += scanned.consumed,
            Err(error) => {
                result = Err(error);
                break;
            }
        }
        if scanner.is_complete() {
            break;
        }
    }
    match (whole, result) {
        (Ok(whole), Ok(())) => assert_eq!(
            (whole.consumed, whole.complete),
            (consumed, scanner.is_complete())
        ),
        (whole, result) => assert_eq!(whole.map(|_| ()), result),
    }
    let limit = data.len() / 2;
    assert!(payload_prefix(data, limit).len() <= limit);
}

/// A state block that parses can be written and parses as the same.
pub fn session_track(data: &[u8]) {
    let Ok(track) = SessionTrack::parse(data) else {
        return;
    };
    let mut block = BytesMut::new();
    track.put_block(&mut block);
    assert_eq!(SessionTrack::parse(&block), Ok(track));
}

/// A set that was read is written as the same; its intervals are in order and apart, it has all of them and not what is beside them, and
/// it does not matter in which order they came.
pub fn gtid(data: &[u8]) {
    let Ok(set) = GtidSet::parse(data) else {
        return;
    };
    let mut backwards = GtidSet::default();
    for (source, intervals) in set.iter() {
        let apart = |pair: &[Interval]| pair[0].last + 1 < pair[1].first;
        assert!(intervals.windows(2).all(apart), "{intervals:?}");
        for interval in intervals.iter().rev() {
            assert!(interval.first <= interval.last && set.contains(source, *interval));
            let more = Interval {
                last: interval.last.saturating_add(1),
                ..*interval
            };
            assert!(more == *interval || !set.contains(source, more), "{more}");
            backwards.insert(source, *interval);
        }
    }
    assert_eq!(backwards, set);
    // a range of one transaction is written in more words than it may have been read from
    if let Ok(again) = GtidSet::parse(set.to_string().as_bytes()) {
        assert_eq!(again, set);
    }
}

/// No text makes the classifier fail; nothing with a second statement behind it is a plain read.
pub fn sql(data: &[u8]) {
    for bits in 0..4 {
        let mode = LexMode {
            ansi_quotes: bits & 1 != 0,
            no_backslash_escapes: bits & 2 != 0,
        };
        let found = sql::classify(data, mode);
        if found.replica_safe() {
            let more = [data, b"\n;DELETE FROM t"].concat();
            assert!(
                !sql::classify(&more, mode).replica_safe(),
                "a second statement was missed"
            );
            let locking = [data, b"\n FOR UPDATE"].concat();
            let ended = data.contains(&b';');
            assert!(
                ended || !sql::classify(&locking, mode).replica_safe(),
                "a lock was missed"
            );
        }
    }
    let _ = sql::exact_spelling(data);
    digest(data);
}

/// A digest is bounded, whatever it is made of.
fn digest(data: &[u8]) {
    for bits in 0..8 {
        let mode = Mode {
            lex: LexMode {
                ansi_quotes: bits & 1 != 0,
                no_backslash_escapes: bits & 2 != 0,
            },
            ignore_space: bits & 4 != 0,
            high_not_precedence: bits & 4 != 0,
            ..Mode::default()
        };
        let digest = Digest::of(data, mode);
        let _ = digest.hash();
        // the longest word of two bytes is one of 44 letters
        assert!(digest.text().len() < 512 * 48, "a digest of no bound");
    }
}

/// However a request is cut, the same arguments are found at the same places, or the same error.
pub fn redis_request(data: &[u8]) {
    let [cut, input @ ..] = data else { return };
    let whole = redis_requests(input, input.len().max(1));
    let parts = redis_requests(input, usize::from(*cut).max(1));
    // an error may be seen only once enough has come
    if let (Ok(whole), Ok(parts)) = (whole, parts) {
        assert_eq!(whole, parts);
    }
}

fn redis_requests(input: &[u8], chunk: usize) -> Result<Vec<Vec<Vec<u8>>>, RequestError> {
    let (mut scanner, mut buffer, mut found) = (RedisScanner::new(), BytesMut::new(), Vec::new());
    for part in input.chunks(chunk) {
        buffer.extend_from_slice(part);
        while !buffer.is_empty() {
            match scanner.feed(&buffer)? {
                Progress::NeedMore => break,
                Progress::Complete(length) => {
                    let arguments = scanner.arguments().iter();
                    found.push(
                        arguments
                            .map(|range| buffer[range.clone()].to_vec())
                            .collect(),
                    );
                    drop(buffer.split_to(length));
                }
                Progress::Inline(length) => found.push(inline_arguments(&buffer.split_to(length))?),
            }
            scanner.reset();
        }
    }
    Ok(found)
}

/// However replies are cut, they end at the same places.
pub fn redis_reply(data: &[u8]) {
    let [cut, input @ ..] = data else { return };
    let ends = |chunk: usize| {
        let (mut scanner, mut pending, mut at, mut found) =
            (ReplyScanner::new(), Vec::new(), 0, Vec::new());
        for part in input.chunks(chunk) {
            pending.extend_from_slice(part);
            while !pending.is_empty() {
                let fed = scanner.feed(&pending).ok()?;
                at += fed.consumed;
                pending.drain(..fed.consumed);
                if !fed.complete {
                    break;
                }
                found.push(at);
            }
        }
        Some(found)
    };
    if let (Some(whole), Some(parts)) = (ends(input.len().max(1)), ends(usize::from(*cut).max(1))) {
        assert_eq!(whole, parts);
    }
    let _ = redis_reply_elements(input);
}
