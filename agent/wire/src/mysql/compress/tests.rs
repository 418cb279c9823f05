//! The compressed protocol: whatever is sent comes out, however it is cut, and nothing grows beyond what it announced.

use proptest::prelude::*;

use super::*;

const BOTH: [Algorithm; 2] = [Algorithm::Zlib(1), Algorithm::Zstd(3)];

fn codec(algorithm: Algorithm) -> Codec {
    Codec::new(algorithm).expect("memory")
}

fn packet(seq: u8, body: &[u8]) -> Vec<u8> {
    let mut out = BytesMut::new();
    let mut seq = seq;
    packet::write(&mut out, &mut seq, body);
    out.to_vec()
}

/// Numbers and announced lengths of all compressed packets.
fn headers(mut bytes: &[u8]) -> Vec<(u8, usize)> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let mut reader = packet::Reader::new(bytes);
        let length = reader.u24().expect("a header");
        let number = reader.u8().expect("a header");
        let announced = reader.u24().expect("a header");
        found.push((number, usize::try_from(announced).expect("small")));
        bytes = &bytes[HEADER_LEN + usize::try_from(length).expect("small")..];
    }
    found
}

/// Decodes in pieces of input and room.
fn decode(
    codec: &mut Codec,
    bytes: &[u8],
    piece: usize,
    room: usize,
) -> Result<Vec<u8>, ProtocolError> {
    let mut all = Vec::new();
    let mut input = BytesMut::new();
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        loop {
            let mut out = BytesMut::new();
            let before = input.len();
            codec.decode(&mut input, &mut out, room)?;
            assert!(
                out.len() <= room + 1,
                "{} bytes where {room} were asked for",
                out.len()
            );
            if out.is_empty() && input.len() == before {
                break;
            }
            all.extend_from_slice(&out);
        }
    }
    Ok(all)
}

#[test]
fn each_command_is_counted_from_its_own_beginning() {
    for algorithm in BOTH {
        let mut codec = codec(algorithm);
        let mut out = BytesMut::new();
        let commands = [packet(0, b"\x03SELECT 1"), packet(0, &[b'x'; 200])].concat();
        codec.encode(&commands, &mut out).expect("memory");
        // too short to be compressed, and long enough
        assert_eq!(headers(&out), [(0, 0), (0, 204)]);
        // an upload goes on behind the server's word, past 255
        let mut server = self::codec(algorithm);
        let (mut word, mut sink) = (BytesMut::new(), BytesMut::new());
        server
            .encode(&packet(1, b"\xfbfile"), &mut word)
            .expect("memory");
        word[3] = 41;
        codec.decode(&mut word, &mut sink, 100).expect("whole");
        out.clear();
        codec.encode(&packet(2, b"abc"), &mut out).expect("memory");
        codec.encode(&packet(0, b"def"), &mut out).expect("memory");
        assert_eq!(headers(&out), [(42, 0), (43, 0)]);
        codec.begin_command();
        out.clear();
        codec.encode(&packet(0, b"\x0e"), &mut out).expect("memory");
        assert_eq!(headers(&out), [(0, 0)]);
    }
}

#[test]
fn large_packets_go_in_pieces_and_come_whole() {
    let body: Vec<u8> = (0..1_000_000_u32)
        .flat_map(|number| (number % 251).to_le_bytes())
        .collect();
    let sent = packet(0, &body);
    for algorithm in BOTH {
        let mut out = BytesMut::new();
        codec(algorithm).encode(&sent, &mut out).expect("memory");
        assert!(
            out.len() < sent.len() / 4,
            "{algorithm:?}: {} bytes",
            out.len()
        );
        let headers = headers(&out);
        assert!(headers.iter().all(|(_, length)| *length <= CHUNK_MAX));
        let numbers: Vec<u8> = headers.iter().map(|(number, _)| *number).collect();
        let expected: Vec<u8> = (0..=255).cycle().take(numbers.len()).collect();
        assert_eq!(numbers, expected);
        // as a reply it has the number of one
        let come = decode(&mut codec(algorithm), &out, 4096, 16 * 1024);
        assert!(come == Ok(packet(1, &body)), "{algorithm:?}");
    }
}

#[test]
fn what_does_not_become_what_it_announced_is_refused() {
    for algorithm in BOTH {
        let mut out = BytesMut::new();
        codec(algorithm)
            .encode(&packet(0, &[b'x'; 5000]), &mut out)
            .expect("memory");
        for announced in [1_u32, 5000, 5003, 5005, 16_000_000] {
            let mut other = out.clone();
            other[4..7].copy_from_slice(&announced.to_le_bytes()[..3]);
            // behind it another packet, so that it is known to be over
            other.extend_from_slice(&out);
            let found = decode(&mut codec(algorithm), &other, 10_000, 1024);
            assert!(found.is_err(), "{algorithm:?}: {announced} taken for 5004");
        }
        assert!(decode(&mut codec(algorithm), &[0, 0, 0, 0, 0, 0, 0], 7, 100).is_err());
    }
}

/// A server's packets, numbered as it does, compressed as one.
fn from_server(algorithm: Algorithm, number: u8, seqs: &[u8]) -> Vec<u8> {
    let packets: Vec<u8> = seqs.iter().flat_map(|seq| packet(*seq, b"abc")).collect();
    let mut out = BytesMut::new();
    codec(algorithm).encode(&packets, &mut out).expect("memory");
    out[3] = number;
    out.to_vec()
}

/// Numbers of all ordinary packets.
fn seqs(mut bytes: &[u8]) -> Vec<u8> {
    let mut found = Vec::new();
    while let Some(header) = packet::Header::parse(bytes) {
        found.push(header.seq);
        bytes = &bytes[packet::HEADER_LEN + header.len..];
    }
    found
}

#[test]
fn replies_are_numbered_as_without_compression() {
    for algorithm in BOTH {
        let mut codec = codec(algorithm);
        let mut out = BytesMut::new();
        // two commands at once, the second of which takes four compressed packets
        let large = packet(0, &vec![b'x'; 3 * CHUNK_MAX + 5]);
        let both = [packet(0, b"\x03SET a = 1"), large].concat();
        codec.encode(&both, &mut out).expect("memory");
        assert_eq!(headers(&out).last().map(|(number, _)| *number), Some(3));
        codec.begin_reply();
        assert_eq!(
            seqs(&decode(&mut codec, &from_server(algorithm, 1, &[1, 2]), 1, 1).expect("whole")),
            [1, 2]
        );
        codec.begin_last_reply();
        // the server goes on behind the compressed packets of the command, and jumps where it flushes
        for (number, jumping, expected) in [(4, [4, 5, 6], [1, 2, 3]), (5, [5, 6, 7], [4, 5, 6])] {
            let came = from_server(algorithm, number, &jumping);
            let plain = decode(&mut codec, &came, 2, 3).expect("whole");
            assert_eq!(seqs(&plain), expected);
        }
        // a word that nobody asked for
        codec.begin_last_reply();
        let word = decode(&mut codec, &from_server(algorithm, 0, &[0]), 9, 9).expect("whole");
        assert_eq!(seqs(&word), [0]);
    }
}

proptest! {
    #[test]
    fn what_is_sent_comes_out_however_it_is_cut(
        bodies in prop::collection::vec(prop::collection::vec(0_u8..4, 0..3000), 1..5),
        zstd: bool,
        cut in 1_usize..400,
        piece in 1_usize..600,
        room in 1_usize..600,
    ) {
        let algorithm = BOTH[usize::from(zstd)];
        let sent: Vec<u8> = (1..).zip(&bodies).flat_map(|(seq, body)| packet(seq, body)).collect();
        let (mut sender, mut out) = (codec(algorithm), BytesMut::new());
        for part in sent.chunks(cut) {
            sender.encode(part, &mut out).expect("memory");
        }
        let mut receiver = codec(algorithm);
        prop_assert_eq!(decode(&mut receiver, &out, piece, room), Ok(sent));
        prop_assert!(receiver.is_between_packets());
    }

    #[test]
    fn any_bytes_end_in_an_error_or_in_no_more_than_they_announce(bytes in prop::collection::vec(any::<u8>(), 0..300), zstd: bool) {
        let mut receiver = codec(BOTH[usize::from(zstd)]);
        if let Ok(out) = decode(&mut receiver, &bytes, 50, 1000) {
            prop_assert!(out.len() <= 300 / HEADER_LEN * (1 << 24));
        }
    }
}
