//! Session state in OK packets: who gets it, and what adds up.

use super::*;

#[test]
fn ok_with_session_state_reaches_only_those_who_asked() {
    let track = SessionTrack {
        system_variables: vec![(Bytes::from_static(b"sql_mode"), Bytes::from_static(b"ANSI"))],
        schema: Some(Bytes::from_static(b"shop")),
        state_change: true,
        gtids: Some(Bytes::from_static(
            b"3E11FA47-71CA-11E1-9E33-C80AA9429562:23",
        )),
        transaction_characteristics: Some(Bytes::new()),
        transaction_state: Some(Bytes::from_static(b"T_______")),
    };
    let packet = OkPacket {
        status: AUTO | Status::SERVER_SESSION_STATE_CHANGED,
        info: Bytes::from_static(b"done"),
        track: track.clone(),
        ..OkPacket::default()
    };
    for server in [NEW, TRACK_ONLY] {
        for client in ALL {
            let input = write(&[Part::Ok(packet.clone())], server);
            let (out, done) = run(ReplyShape::Query, client, server, &input).unwrap();
            assert_eq!(out, write(&[Part::Ok(packet.clone())], client));
            assert_eq!(done.track, track);
            let seen = OkPacket::parse(&out[4..], client).unwrap();
            let asked = client.contains(Capabilities::CLIENT_SESSION_TRACK);
            assert_eq!(
                seen.status.contains(Status::SERVER_SESSION_STATE_CHANGED),
                asked
            );
            assert_eq!(seen.track.is_empty(), !asked);
            assert_eq!(seen.info, "done");
        }
    }
}

#[test]
fn session_state_of_all_results_adds_up() {
    let with = |track: SessionTrack, more: Status| {
        Part::Ok(OkPacket {
            status: AUTO | more | Status::SERVER_SESSION_STATE_CHANGED,
            track,
            ..OkPacket::default()
        })
    };
    let variable =
        |name: &'static str, value: &'static str| (Bytes::from(name), Bytes::from(value));
    let first = SessionTrack {
        system_variables: vec![variable("autocommit", "ON"), variable("time_zone", "UTC")],
        gtids: Some(Bytes::from_static(b"a:1")),
        schema: Some(Bytes::from_static(b"one")),
        ..SessionTrack::default()
    };
    let second = SessionTrack {
        system_variables: vec![variable("autocommit", "OFF")],
        gtids: Some(Bytes::from_static(b"a:2")),
        schema: Some(Bytes::from_static(b"two")),
        ..SessionTrack::default()
    };
    let parts = [with(first, MORE), with(second, Status::empty())];
    let (_, done) = run(ReplyShape::Query, OLD, NEW, &write(&parts, NEW)).unwrap();
    assert_eq!(
        done.track.system_variables,
        [variable("autocommit", "OFF"), variable("time_zone", "UTC")]
    );
    assert_eq!(done.track.gtids.unwrap(), "a:1,a:2");
    assert_eq!(done.track.schema.unwrap(), "two");
}

#[test]
fn session_state_at_the_end_of_rows() {
    let track = SessionTrack {
        gtids: Some(Bytes::from_static(b"a:7")),
        ..SessionTrack::default()
    };
    let end = OkPacket {
        status: AUTO | Status::SERVER_SESSION_STATE_CHANGED,
        track,
        ..OkPacket::default()
    };
    let parts = [
        raw(&[1]),
        column("a"),
        Part::Middle(AUTO),
        raw(b"\x01x"),
        Part::End(end),
    ];
    for client in ALL {
        let (out, done) = run(ReplyShape::Query, client, NEW, &write(&parts, NEW)).unwrap();
        assert_eq!(out, write(&parts, client));
        assert_eq!(done.track.gtids.unwrap(), "a:7");
    }
}
