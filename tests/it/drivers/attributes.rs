//! Query attributes: what a client says beside a statement reaches the server with that statement, and with no other.

use bytes::{BufMut as _, BytesMut};
use lamplighter_wire::mysql::flags::Capabilities;
use lamplighter_wire::mysql::packet::put_lenenc_bytes;

use super::{differences, itself, program, through};
use crate::endpoint::{Endpoint, Options, start};
use crate::support::mysql::raw::{Answer, Link, Login, Param, Part, execute_body};
use crate::support::mysql::{APP, Cluster};

/// Everything that looks into a statement's text has to find it behind the attributes.
const TYPED: &str = "query_attributes shop 17 trace abc-\u{2603};\n\
    SELECT mysql_query_attribute_string('shop'), mysql_query_attribute_string('trace'), mysql_query_attribute_string('none');\n\
    SELECT mysql_query_attribute_string('shop');\n\
    query_attributes shop 18;\n\
    SET SESSION sql_mode = 'ANSI_QUOTES';\n\
    query_attributes shop 19;\n\
    SELECT @@sql_mode, mysql_query_attribute_string('shop') AS \"quoted\";\n\
    SELECT id FROM kv LIMIT 3;\n\
    query_attributes shop 20;\n\
    SELECT FOUND_ROWS(), ROW_COUNT(), mysql_query_attribute_string('shop');\n\
    query_attributes shop 21;\n\
    BEGIN;\n\
    INSERT INTO attributed VALUES (1, mysql_query_attribute_string('shop'));\n\
    query_attributes shop 22;\n\
    INSERT INTO attributed VALUES (2, mysql_query_attribute_string('shop'));\n\
    COMMIT;\n\
    query_attributes shop 23;\n\
    use test;\n\
    use app;\n\
    SET NAMES utf8mb4;\n\
    query_attributes shop 24;\n\
    SELECT *, mysql_query_attribute_string('shop') FROM attributed ORDER BY id;\n\
    DELETE FROM attributed;\n\
    SELECT SLEEP(0), CONNECTION_ID() > 0;\n";

/// A server that knows attributes, behind an endpoint with one connection: whoever comes next gets the one on which they were used.
fn stage() -> (Cluster, Endpoint) {
    let cluster = Cluster::builder()
        .schema(
            "INSTALL COMPONENT 'file://component_query_attributes';\
             CREATE TABLE app.attributed (id INT PRIMARY KEY, shop TEXT);",
        )
        .build();
    let options = Options {
        pool: "max_server_connections = 1".into(),
        ..Options::default()
    };
    let endpoint = start(&cluster, options);
    endpoint.wait_opened(&cluster);
    (cluster, endpoint)
}

#[test]
fn attributes_reach_the_server_with_their_statement_alone() {
    let (cluster, endpoint) = stage();
    let (socket, path) = (cluster.socket(0), endpoint.socket());
    let direct = itself(&socket, &cluster.address(0));
    let [_, door] = through(&path, &endpoint);
    let options = ["--batch", "--force", "--commands"];
    let expected = program("mysql", &options, &direct, TYPED);
    assert!(
        expected.contains("17\tabc-\u{2603}\tNULL") && expected.contains("ANSI_QUOTES\t19"),
        "{expected}"
    );
    for _ in 0..2 {
        let got = program("mysql", &options, &door, TYPED);
        let wrong = differences(&expected, &got);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // and a client that knows nothing of attributes
        let code = "echo one(endpoint(), \"SELECT mysql_query_attribute_string('shop') IS NULL\");";
        assert_eq!(endpoint.code(code).run().expect_ok(), "1");
    }
}

/// MYSQL_TYPE_VAR_STRING.
const VAR_STRING: u16 = 253;

/// PARAMETER_COUNT_AVAILABLE.
const COUNTED: u8 = 8;

/// COM_STMT_EXECUTE of a client that knows attributes: one parameter, and perhaps the attribute `shop`.
fn execution(id: u32, parameter: &str, shop: Option<&str>) -> Vec<u8> {
    let values: Vec<(&str, &str)> = std::iter::once(("", parameter))
        .chain(shop.map(|shop| ("shop", shop)))
        .collect();
    let mut body = BytesMut::new();
    body.put_u32_le(id);
    body.put_u8(COUNTED);
    body.put_u32_le(1);
    body.put_u8(u8::try_from(values.len()).expect("few"));
    body.put_u8(0); // no NULLs
    body.put_u8(1); // types and names follow
    for (name, _) in &values {
        body.put_u16_le(VAR_STRING);
        put_lenenc_bytes(&mut body, name.as_bytes());
    }
    for (_, value) in &values {
        put_lenenc_bytes(&mut body, value.as_bytes());
    }
    body.to_vec()
}

/// What three clients are told in turn, of which the last knows nothing of attributes.
fn told(login: &Login) -> Vec<Answer> {
    let knows = Login {
        capabilities: login.capabilities | Capabilities::CLIENT_QUERY_ATTRIBUTES,
        ..login.clone()
    };
    let mut links = [&knows, &knows, login].map(|login| Link::open(login).expect("it logs in"));
    let ids = links.each_mut().map(|link| {
        let text = b"SELECT ?, mysql_query_attribute_string('shop')";
        link.prepare(text).0.expect("it is prepared")
    });
    let mut told = Vec::new();
    for (client, parameter, shop) in [
        (0, "a", Some("17")),
        (1, "b", None),
        (0, "c", Some("18")),
        (0, "d", None),
        (1, "e", Some("19")),
        (0, "f", Some("20")),
        (1, "g", Some("21")),
    ] {
        let body = execution(ids[client], parameter, shop);
        told.push(links[client].execute(&body));
        let plain = execute_body(ids[2], false, &[Param::Text(b"z".to_vec())], true);
        told.push(links[2].execute(&plain));
    }
    told
}

#[test]
fn attributes_of_an_execution_reach_the_server_with_it_alone() {
    let (cluster, endpoint) = stage();
    let direct = Login::new(cluster.socket(0).display().to_string(), APP.0, APP.1);
    let expected = told(&direct);
    let has = |answer: &Answer, shop: &str| {
        let ends = |part: &Part| matches!(part, Part::Row(body) if body.ends_with(shop.as_bytes()));
        answer.iter().any(ends)
    };
    assert!(
        has(&expected[0], "17") && has(&expected[8], "19"),
        "{expected:?}"
    );
    let got = told(&Login::new(endpoint.socket(), "web", ""));
    for (index, (expected, got)) in expected.iter().zip(&got).enumerate() {
        assert_eq!(expected, got, "execution {index}");
    }
}
