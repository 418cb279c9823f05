// The hard cases with go-sql-driver/mysql (DRIVER=text or prepared): prints what it saw, one line each, so that two runs can be compared.
package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/go-sql-driver/mysql"
)

func show(label string, values ...interface{}) {
	fmt.Print(label)
	for _, value := range values {
		fmt.Printf(" %v", value)
	}
	fmt.Println()
}

func must(err error) {
	if err != nil {
		fmt.Println("FAILED", err)
		os.Exit(1)
	}
}

// session is one connection of the driver's own pool: what is set on it stays with it.
type session struct{ *sql.Conn }

var everything = context.Background()

func (s session) do(statement string, values ...interface{}) sql.Result {
	result, err := s.ExecContext(everything, statement, values...)
	must(err)
	return result
}

// rows are all results, one after the other, with the names and types of their columns.
func (s session) rows(statement string, values ...interface{}) string {
	found, err := s.QueryContext(everything, statement, values...)
	must(err)
	defer found.Close()
	return table(found)
}

func table(found *sql.Rows) string {
	var told strings.Builder
	for more := true; more; more = found.NextResultSet() {
		types, err := found.ColumnTypes()
		must(err)
		for _, column := range types {
			fmt.Fprintf(&told, "%s:%s ", column.Name(), column.DatabaseTypeName())
		}
		for found.Next() {
			fields := make([]sql.NullString, len(types))
			places := make([]interface{}, len(types))
			for index := range fields {
				places[index] = &fields[index]
			}
			must(found.Scan(places...))
			for _, field := range fields {
				fmt.Fprintf(&told, "%q/%v ", field.String, field.Valid)
			}
		}
		must(found.Err())
		told.WriteString("; ")
	}
	return told.String()
}

func (s session) attempt(label, statement string, values ...interface{}) {
	_, err := s.ExecContext(everything, statement, values...)
	if refused, is := err.(*mysql.MySQLError); is {
		show(label, refused.Number, refused.Message)
	} else {
		show(label, err)
	}
}

func affected(result sql.Result) int64 {
	count, err := result.RowsAffected()
	must(err)
	return count
}

func connect(pool *sql.DB) session {
	link, err := pool.Conn(everything)
	must(err)
	return session{link}
}

func main() {
	config := mysql.NewConfig()
	config.Net, config.Addr = "unix", os.Getenv("SOCKET")
	config.User, config.Passwd, config.DBName = os.Getenv("DBUSER"), os.Getenv("DBPASSWORD"), "app"
	config.InterpolateParams = os.Getenv("DRIVER") == "text"
	config.MultiStatements = true
	config.ParseTime = false
	pool, err := sql.Open("mysql", config.FormatDSN())
	must(err)
	s := connect(pool)
	show("types", s.rows("SELECT 1, -2, 1.50, NULL, x'00FF', 'h☃', DATE '2024-02-29', TIME '-12:34:56', CAST(1.25 AS DOUBLE)"))
	s.do("DROP TABLE IF EXISTS driven")
	s.do("CREATE TABLE driven (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60) UNIQUE, b LONGBLOB) AUTO_INCREMENT = 100")
	for _, value := range []interface{}{"a", "quote ' \\ \" ☃", nil} {
		result := s.do("INSERT INTO driven (v) VALUES (?)", value)
		id, err := result.LastInsertId()
		must(err)
		show("insert", affected(result), id, s.rows("SELECT LAST_INSERT_ID() AS id"))
	}
	find, err := s.PrepareContext(everything, "SELECT id, v FROM driven WHERE id >= ? ORDER BY id")
	must(err)
	for _, from := range []interface{}{0, 101, nil, int64(102), 500} {
		found, err := find.QueryContext(everything, from)
		must(err)
		show("rows", table(found))
		must(found.Close())
	}
	must(find.Close())
	transaction, err := s.BeginTx(everything, &sql.TxOptions{Isolation: sql.LevelReadCommitted})
	must(err)
	_, err = transaction.Exec("DELETE FROM driven WHERE id = ?", 100)
	must(err)
	must(transaction.Rollback())
	show("rolled back", s.rows("SELECT COUNT(*) AS n FROM driven"))
	s.attempt("duplicate", "INSERT INTO driven (id) VALUES (?)", 100)
	s.attempt("no table", "SELECT * FROM nowhere WHERE id = ?", 1)
	s.attempt("syntax", "SELEC 1")
	show("unchanged", affected(s.do("UPDATE driven SET v = 'a' WHERE id = ?", 100)))
	s.rows("SELECT 1/0 AS none")
	show("warnings", s.rows("SHOW WARNINGS"))
	s.do("SET @x = 5")
	show("user variable", s.rows("SELECT @x + 1 AS x"))
	s.do("CREATE TEMPORARY TABLE passing (n INT)")
	s.do("INSERT INTO passing VALUES (?), (?)", 1, 2)
	show("temporary table", s.rows("SELECT SUM(n) AS n FROM passing"))
	s.do("DROP TEMPORARY TABLE passing")
	s.do("INSERT INTO driven (v, b) VALUES (?, ?)", "large", []byte(strings.Repeat("lamp", 750000)))
	show("large", s.rows("SELECT LENGTH(b), SHA2(b, 256) FROM driven WHERE v = ?", "large"))
	s.do("DROP PROCEDURE IF EXISTS twice")
	s.do("CREATE PROCEDURE twice() BEGIN SELECT 1 AS a; SELECT 2 AS b, 3 AS c; END")
	show("several results", s.rows("CALL twice()"))
	show("several statements", s.rows("SELECT 1 AS a; SELECT 2 AS b"))
	s.do("SET SESSION sql_mode = 'ANSI_QUOTES'")
	show("ansi quotes", s.rows(`SELECT COUNT("id") AS n FROM "driven"`))
	must(s.PingContext(everything))
	must(s.Close())
	var done sync.WaitGroup
	told := make([]string, 4)
	for index := range told {
		done.Add(1)
		go func(index int) {
			defer done.Done()
			link := connect(pool)
			defer link.Close()
			told[index] = link.rows("SELECT v FROM kv WHERE id = ?", index+1)
		}(index)
	}
	done.Wait()
	show("at once", told)
	must(pool.Close())
	pool, err = sql.Open("mysql", config.FormatDSN())
	must(err)
	fresh := connect(pool)
	show("a new session", fresh.rows("SELECT @x AS x, @@sql_mode = @@global.sql_mode AS same"))
	fresh.do("DROP TABLE driven")
	fresh.do("DROP PROCEDURE twice")
	must(fresh.Close())
	must(pool.Close())
}
