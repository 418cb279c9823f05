//! Micro benches of the wire crate: what one statement and one reply cost on the hot path, without any IO.
//! Run: `cargo bench -p lamplighter --bench wire`.

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use lamplighter_wire::mysql::exchange::{Exchange, ReplyShape};
use lamplighter_wire::mysql::flags::{Capabilities, Status};
use lamplighter_wire::mysql::packet;
use lamplighter_wire::mysql::request::RequestScanner;
use lamplighter_wire::mysql::response::{EofPacket, OkPacket};
use lamplighter_wire::sql::digest::{Digest, Mode};
use lamplighter_wire::sql::{LexMode, classify};

/// What PHP's mysqlnd negotiates, as far as replies differ by it.
const PHP: Capabilities = Capabilities::CLIENT_PROTOCOL_41;
/// What the agent negotiates with servers.
const SERVER: Capabilities = PHP
    .union(Capabilities::CLIENT_DEPRECATE_EOF)
    .union(Capabilities::CLIENT_SESSION_TRACK);

const WORDPRESS_MAIN: &str = "SELECT SQL_CALC_FOUND_ROWS wp_posts.ID FROM wp_posts \
    LEFT JOIN wp_term_relationships ON (wp_posts.ID = wp_term_relationships.object_id) WHERE 1=1 \
    AND ( wp_term_relationships.term_taxonomy_id IN (5,7,9) ) AND ((wp_posts.post_type = 'post' \
    AND (wp_posts.post_status = 'publish' OR wp_posts.post_status = 'private'))) GROUP BY wp_posts.ID \
    ORDER BY wp_posts.menu_order, wp_posts.post_date DESC LIMIT 0, 10";

fn statements() -> [(&'static str, String); 6] {
    let ids: Vec<String> = (0..500).map(|id| (100_000 + id * 7).to_string()).collect();
    // Every hundredth byte of a blob is escaped.
    let blob = format!("{}\\'", "x".repeat(98)).repeat(1000);
    [
        ("point select", "SELECT v FROM t.t WHERE id = 4711".to_owned()),
        (
            "wp_options autoload",
            "SELECT option_name, option_value FROM wp_options WHERE autoload IN ( 'yes', 'on', 'auto-on', 'auto' )".to_owned(),
        ),
        ("WordPress main query", WORDPRESS_MAIN.to_owned()),
        (
            "UPDATE wp_options",
            "UPDATE `wp_options` SET `option_value` = '1700000000.1234' WHERE `option_name` = '_transient_x'".to_owned(),
        ),
        ("IN of 500 ids", format!("SELECT * FROM t WHERE id IN ({})", ids.join(","))),
        ("INSERT of 100 kB", format!("INSERT INTO t (b) VALUES ('{blob}')")),
    ]
}

fn classifier(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("classify");
    for (name, sql) in statements() {
        group.throughput(Throughput::Bytes(sql.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| classify(black_box(sql.as_bytes()), LexMode::default()));
        });
    }
    group.finish();
}

/// The hash alone is what every statement costs; the text is made once for each digest.
fn digest(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("digest");
    for (name, sql) in statements() {
        group.throughput(Throughput::Bytes(sql.len() as u64));
        group.bench_function(format!("{name}, hash"), |bencher| {
            bencher.iter(|| Digest::of(black_box(sql.as_bytes()), Mode::default()).hash());
        });
    }
    let digest = Digest::of(WORDPRESS_MAIN.as_bytes(), Mode::default());
    group.bench_function("WordPress main query, text", |bencher| {
        bencher.iter(|| black_box(&digest).text());
    });
    group.finish();
}

/// A text result set of two columns as a server with these capabilities sends it.
fn result_set(rows: usize, capabilities: Capabilities) -> Vec<u8> {
    let status = Status::SERVER_STATUS_AUTOCOMMIT;
    let (mut out, mut seq) = (BytesMut::new(), 1);
    packet::write(&mut out, &mut seq, &[2]);
    for name in ["id", "v"] {
        packet::write_with(&mut out, &mut seq, |out| {
            for field in ["def", "shop", "t", "t", name, name] {
                packet::put_lenenc_bytes(out, field.as_bytes());
            }
            out.extend_from_slice(b"\x0c\x2d\0\x15\0\0\0\xfd\0\0\0\0\0");
        });
    }
    if !capabilities.contains(Capabilities::CLIENT_DEPRECATE_EOF) {
        EofPacket {
            warnings: 0,
            status,
        }
        .encode(&mut out, &mut seq);
    }
    for row in 0..rows {
        packet::write_with(&mut out, &mut seq, |out| {
            packet::put_lenenc_bytes(out, row.to_string().as_bytes());
            packet::put_lenenc_bytes(out, b"a value of some thirty bytes..");
        });
    }
    OkPacket {
        status,
        ..OkPacket::default()
    }
    .encode_end_of_rows(capabilities, &mut out, &mut seq);
    out.to_vec()
}

fn exchange(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("exchange");
    for (rows, name) in [(1, "point select"), (1000, "1000 rows")] {
        let reply = result_set(rows, SERVER);
        group.throughput(Throughput::Bytes(reply.len() as u64));
        for (client, form) in [(SERVER, "copied"), (PHP, "translated for PHP")] {
            let mut out = BytesMut::with_capacity(2 * reply.len());
            group.bench_function(format!("{name}, {form}"), |bencher| {
                bencher.iter(|| {
                    out.clear();
                    let mut exchange = Exchange::new(ReplyShape::Query, client, SERVER);
                    // As the relay reads: 16 KiB at a time.
                    for piece in black_box(&reply[..]).chunks(16 * 1024) {
                        assert!(black_box(exchange.feed(piece, &mut out)).is_ok());
                    }
                    out.len()
                });
            });
        }
    }
    group.finish();
}

fn request(criterion: &mut Criterion) {
    let mut command = BytesMut::new();
    packet::write(
        &mut command,
        &mut 0,
        b"\x03SELECT v FROM t.t WHERE id = 4711",
    );
    criterion.bench_function("request scan, point select", |bencher| {
        bencher.iter(|| RequestScanner::new().feed(black_box(&command)));
    });
}

criterion_group!(benches, classifier, digest, exchange, request);
criterion_main!(benches);
