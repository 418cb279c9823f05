//! LOAD DATA LOCAL.

use super::super::super::packet::MAX_PAYLOAD;
use super::*;

#[test]
fn local_infile() {
    for (client, server) in [(OLD, NEW), (NEW, NEW)] {
        // The second statement of two, so that the client's packet numbers are not the server's.
        let mut parts = point_select();
        parts[4] = Part::End(ok(AUTO | MORE));
        parts.push(raw(b"\xfb/tmp/a.csv"));
        let mut exchange = Exchange::new(ReplyShape::Query, client, server);
        let (out, events) = feed_in_pieces(&mut exchange, &[&write(&parts, server)]).unwrap();
        assert_eq!(out, write(&parts, client));
        assert_eq!(
            events,
            [Event::LocalInfile {
                file_name: Bytes::from_static(b"/tmp/a.csv")
            }]
        );
        let (server_next, client_next) = (6, if client == OLD { 7 } else { 6 });
        assert_eq!(
            exchange.feed(b"", &mut BytesMut::new()).unwrap().event,
            Event::NeedMore
        );

        let file = |first: u8| {
            [
                &[3, 0, 0, first][..],
                b"1,2",
                &[2, 0, 0, first + 1],
                b"3\n",
                &[0, 0, 0, first + 2],
            ]
            .concat()
        };
        let (sent, expected) = (file(client_next), file(server_next));
        for cut in 0..sent.len() {
            let mut upload = exchange.infile_upload();
            let mut out = BytesMut::new();
            assert!(!upload.feed(&sent[..cut], &mut out).unwrap());
            assert!(upload.feed(&sent[cut..], &mut out).unwrap());
            assert_eq!(out, expected);
            assert_eq!(
                upload.feed(b"x", &mut out),
                Err(ProtocolError::TrailingBytes(1))
            );
        }

        exchange.infile_sent().unwrap();
        let mut seq = server_next + 3;
        let mut answer = BytesMut::new();
        OkPacket {
            affected_rows: 2,
            status: AUTO,
            ..OkPacket::default()
        }
        .encode(server, &mut answer, &mut seq);
        let mut out = BytesMut::new();
        let fed = exchange.feed(&answer, &mut out).unwrap();
        let Event::Done(done) = fed.event else {
            panic!("{fed:?}")
        };
        assert_eq!(
            done.outcome,
            Outcome::Ok {
                affected_rows: 2,
                last_insert_id: 0
            }
        );
        assert_eq!(out[3], client_next + 3);
    }
}

#[test]
fn a_file_ends_at_an_empty_packet_that_continues_nothing() {
    let mut sent = BytesMut::new();
    let mut seq = 2;
    packet::write(&mut sent, &mut seq, &vec![b'x'; MAX_PAYLOAD]);
    packet::write(&mut sent, &mut seq, b"");
    let mut upload = InfileUpload::new(0);
    let mut out = BytesMut::new();
    let end = sent.len() - 4;
    assert!(!upload.feed(&sent[..end], &mut out).unwrap());
    assert!(upload.feed(&sent[end..], &mut out).unwrap());
    assert!(out == sent);
}

#[test]
fn local_infile_that_the_client_cannot_answer() {
    let client = OLD.without(Capabilities::CLIENT_LOCAL_FILES);
    let input = write(&[raw(b"\xfbx")], NEW);
    let error = Exchange::new(ReplyShape::Query, client, NEW)
        .feed(&input, &mut BytesMut::new())
        .unwrap_err();
    assert!(matches!(error, ProtocolError::Unsupported(_)));
    assert_eq!(
        Exchange::new(ReplyShape::Query, OLD, NEW).infile_sent(),
        Err(ProtocolError::OutOfTurn("no file was asked for"))
    );
}
