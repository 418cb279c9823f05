"""The hard cases with a Python driver (DRIVER=pymysql, MySQLdb or mysql.connector): prints what it saw, one line each, so that two runs can be compared."""
import importlib
import os
import sys

name = os.environ["DRIVER"]
driver = importlib.import_module(name)
connector = name == "mysql.connector"


def connect():
    host = {"unix_socket": os.environ["SOCKET"]} if os.environ.get("SOCKET") else {
        "host": "127.0.0.1",
        "port": int(os.environ["PORT"]),
    }
    if connector:
        # not the C library; and a collation that MariaDB knows as well
        host.update(use_pure=True, collation="utf8mb4_general_ci", ssl_disabled=True)
    return driver.connect(user=os.environ["DBUSER"], passwd=os.environ["DBPASSWORD"], db="app", charset="utf8mb4", **host)


def case(label, *values):
    print(label, *[repr(value) for value in values])


def attempt(label, action):
    try:
        case(label, action())
    except driver.Error as error:
        case(label, type(error).__name__, error.args[0])


link = connect()
cursor = link.cursor()


def ask(sql, *args):
    cursor.execute(sql, args or None)
    return cursor.fetchall() if cursor.description else ()


case("types", ask("SELECT 1, -2, 1.50, NULL, x'00FF', 'h\u00e9\u2603', DATE '2024-02-29', TIME '-12:34:56', CAST(1.25 AS DOUBLE), JSON_ARRAY(1, 2)"))
case("description", [column[:3] for column in cursor.description])
ask("DROP TABLE IF EXISTS driven")
ask("CREATE TABLE driven (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60) UNIQUE) AUTO_INCREMENT = 100")
cursor.execute("INSERT INTO driven (v) VALUES (%s), (%s)", ("a", "quote ' \\ \"\x00\u2603"))
case("insert", cursor.rowcount, cursor.lastrowid)
case("last insert id", ask("SELECT LAST_INSERT_ID()"))
cursor.executemany("INSERT INTO driven (v) VALUES (%s)", [("m%d" % n,) for n in range(5)])
case("many", cursor.rowcount)
link.rollback()
case("rolled back", ask("SELECT COUNT(*) FROM driven"))
cursor.execute("INSERT INTO driven (id, v) VALUES (1, 'kept')")
link.commit()
attempt("duplicate", lambda: ask("INSERT INTO driven (v) VALUES ('kept')"))
attempt("no table", lambda: ask("SELECT * FROM nowhere"))
attempt("syntax", lambda: ask("SELEC 1"))
link.rollback()
cursor.execute("UPDATE driven SET v = 'kept' WHERE id = 1")
case("unchanged", cursor.rowcount)
link.commit()
ask("SELECT 1/0")
case("warnings", ask("SHOW WARNINGS"))
ask("SET @x = 5")
case("user variable", ask("SELECT @x + 1"))
ask("CREATE TEMPORARY TABLE passing (n INT)")
ask("INSERT INTO passing VALUES (1), (2)")
case("temporary table", ask("SELECT SUM(n) FROM passing"))
ask("SET SESSION sql_mode = 'ANSI_QUOTES'")
case("ansi quotes", ask('SELECT "id" FROM "driven"'))
ask("SET NAMES latin1")
case("latin1", ask("SELECT HEX('abc'), @@character_set_client"))
link.close()

link = connect()
cursor = link.cursor()
case("a new session", ask("SELECT @x, @@character_set_client, @@sql_mode = @@global.sql_mode"))
attempt("temporary table gone", lambda: ask("SELECT * FROM passing"))
if connector:
    link.autocommit = True
else:
    link.autocommit(True)
ask("DROP PROCEDURE IF EXISTS twice")
ask("CREATE PROCEDURE twice() BEGIN SELECT 1 AS a; SELECT 2 AS b, 3 AS c; END")
cursor.callproc("twice")
if connector:
    results = [result.fetchall() for result in cursor.stored_results()]
else:
    results = [cursor.fetchall()]
    while cursor.nextset():
        results.append(cursor.fetchall())
case("several results", results)
cursor.close()
cursor = link.cursor()
case("large", len(ask("SELECT REPEAT('x', 3000000)")[0][0]))
streamed = link.cursor(sys.modules[name + ".cursors"].SSCursor if name + ".cursors" in sys.modules else None)
streamed.execute("SELECT id, v FROM kv ORDER BY id")
first = streamed.fetchone()
case("unbuffered", first, len(streamed.fetchall()))
streamed.close()
link.ping()
if connector:
    link.database = "test"
else:
    link.select_db("test")
case("schema", ask("SELECT DATABASE()"))
if connector:
    prepared = link.cursor(prepared=True)
    for number in (1, 2, None, 3):
        prepared.execute("SELECT %s, id, v FROM app.kv WHERE id = %s", ("x\u2603", number))
        case("prepared", prepared.fetchall())
    prepared.close()
    link.cmd_reset_connection()
    cursor = link.cursor()
    case("after a reset", ask("SELECT @x, @@autocommit"))
ask("DROP TABLE app.driven")
link.close()
