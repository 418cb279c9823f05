//! Random replies, cut anywhere; random bytes.

use proptest::prelude::*;

use super::*;

fn shapes() -> impl Strategy<Value = ReplyShape> {
    prop::sample::select(vec![
        ReplyShape::OkOrErr,
        ReplyShape::Query,
        ReplyShape::FieldList,
        ReplyShape::Statistics,
        ReplyShape::Prepare,
        ReplyShape::Execute,
        ReplyShape::Fetch,
    ])
}

fn rows() -> impl Strategy<Value = Vec<Part>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..12).prop_map(|rows| {
        let row = |value: Vec<u8>| {
            let mut body = BytesMut::new();
            packet::put_lenenc_bytes(&mut body, &value);
            Part::Raw(body.to_vec())
        };
        rows.into_iter().map(row).collect()
    })
}

/// A reply to COM_QUERY of any number of results.
fn query_reply() -> impl Strategy<Value = Vec<Part>> {
    let result = prop_oneof![
        (any::<u64>(), any::<u64>(), any::<u16>(), ".{0,20}").prop_map(
            |(affected_rows, last_insert_id, warnings, info)| {
                let info = Bytes::from(info);
                vec![Part::Ok(OkPacket {
                    affected_rows,
                    last_insert_id,
                    warnings,
                    info,
                    ..ok(AUTO)
                })]
            }
        ),
        rows().prop_map(|rows| {
            [
                vec![raw(&[1]), column("c"), Part::Middle(AUTO)],
                rows,
                vec![Part::End(ok(AUTO))],
            ]
            .concat()
        }),
    ];
    prop::collection::vec(result, 1..4).prop_map(|mut results| {
        let last = results.len() - 1;
        for result in &mut results[..last] {
            if let Some(Part::Ok(end) | Part::End(end)) = result.last_mut() {
                end.status |= MORE;
            }
        }
        results.concat()
    })
}

proptest! {
    #[test]
    fn translation_is_what_the_client_s_own_server_would_say(
        parts in query_reply(),
        client in prop::sample::select(&ALL[..]),
        server in prop::sample::select(&ALL[..]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let (input, expected) = (write(&parts, server), write(&parts, client));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len())).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &input[cut[0]..cut[1]]).collect();
        let mut exchange = Exchange::new(ReplyShape::Query, client, server);
        // A cut at the very end would feed an empty piece after the completion.
        let pieces: Vec<&[u8]> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        let (out, events) = feed_in_pieces(&mut exchange, &pieces).unwrap();
        prop_assert_eq!(&out, &expected);
        prop_assert_eq!(events.len(), 1);
        // And back again.
        let (back, _) = run(ReplyShape::Query, server, client, &out).unwrap();
        prop_assert_eq!(back, input);
    }

    #[test]
    fn any_bytes_end_in_an_error_or_a_whole_reply(
        shape in shapes(),
        client in prop::sample::select(&ALL[..]),
        server in prop::sample::select(&ALL[..]),
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = Exchange::new(shape, client, server).feed(&bytes, &mut BytesMut::new());
        let cut = cut.index(bytes.len() + 1);
        let mut exchange = Exchange::new(shape, client, server);
        let mut out = BytesMut::new();
        let parts = exchange.feed(&bytes[..cut], &mut out).and_then(|first| match first.event {
            Event::NeedMore => exchange.feed(&bytes[cut..], &mut out),
            _ => Ok(first),
        });
        if let Ok(Fed { event: Event::Done(_), .. }) = &whole {
            prop_assert_eq!(&parts, &whole.map(|fed| Fed { consumed: bytes.len() - if cut == bytes.len() { 0 } else { cut }, ..fed }));
        }
    }

    #[test]
    fn a_damaged_reply_never_panics(
        parts in query_reply(),
        client in prop::sample::select(&ALL[..]),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        shape in shapes(),
    ) {
        let mut input = write(&parts, NEW);
        let at = at.index(input.len());
        input[at] = byte;
        core::hint::black_box(Exchange::new(shape, client, NEW).feed(&input, &mut BytesMut::new()).is_ok());
    }
}
