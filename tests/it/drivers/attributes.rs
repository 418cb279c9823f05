//! Query attributes: what a client says beside a statement reaches the server with that statement, and with no other.

use std::path::Path;

use super::{Door, differences, program};
use crate::endpoint::{Options, start};
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

#[test]
fn attributes_reach_the_server_with_their_statement_alone() {
    let cluster = Cluster::builder()
        .schema(
            "INSTALL COMPONENT 'file://component_query_attributes';\
             CREATE TABLE app.attributed (id INT PRIMARY KEY, shop TEXT);",
        )
        .build();
    let options = Options {
        // whoever comes next gets the connection on which attributes were used
        pool: "max_server_connections = 1".into(),
        ..Options::default()
    };
    let endpoint = start(&cluster, options);
    endpoint.wait_opened(&cluster);
    let (socket, through) = (cluster.socket(0), endpoint.socket());
    let direct = Door {
        socket: &socket,
        user: APP.0,
        password: APP.1,
    };
    let door = Door {
        socket: Path::new(&through),
        user: "job",
        password: "job-secret",
    };
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
