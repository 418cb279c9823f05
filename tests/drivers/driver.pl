# The hard cases with DBI (DRIVER=mysql or MariaDB): prints what it saw, one line each, so that two runs can be compared.
use strict;
use warnings;
use DBI;
binmode STDOUT, ':utf8';

my $driver = $ENV{DRIVER};
my $p = lc $driver;

sub connection {
    my $where = $ENV{SOCKET} ? "${p}_socket=$ENV{SOCKET}" : "host=127.0.0.1;port=$ENV{PORT}";
    return DBI->connect("DBI:$driver:database=app;$where", $ENV{DBUSER}, $ENV{DBPASSWORD},
        { RaiseError => 1, PrintError => 0, AutoCommit => 1, @_ });
}
sub show { return join ' ', map { !defined $_ ? 'NULL' : ref $_ ? '[' . show(@$_) . ']' : $_ } @_; }
sub saw { print show(@_), "\n"; }

for my $server_side (0, 1) {
    my $link = connection("${p}_server_prepare" => $server_side);
    saw('types', $link->selectrow_array("SELECT 1, -2, 1.50, NULL, HEX(x'00FF'), DATE '2024-02-29', TIME '-12:34:56'"));
    $link->do('DROP TABLE IF EXISTS driven');
    $link->do('CREATE TABLE driven (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60) UNIQUE) AUTO_INCREMENT = 100');
    my $insert = $link->prepare('INSERT INTO driven (v) VALUES (?)');
    saw('insert', $insert->execute($_), $link->last_insert_id(undef, undef, undef, undef)) for 'a', "quote ' \\ \"", undef;
    my $select = $link->prepare('SELECT id, v FROM driven WHERE id >= ? ORDER BY id');
    for my $from (0, 101, 500) {
        $select->execute($from);
        saw('rows', $select->rows, $select->fetchall_arrayref);
    }
    $link->begin_work;
    $link->do("UPDATE driven SET v = 'gone' WHERE id = 100");
    $link->rollback;
    saw('rolled back', $link->selectrow_array('SELECT v FROM driven WHERE id = 100'));
    for my $wrong ("INSERT INTO driven (v) VALUES ('a')", 'SELECT * FROM nowhere', 'SELEC 1') {
        eval { $link->do($wrong) };
        saw('error', $link->err, $link->state);
    }
    saw('unchanged', $link->do("UPDATE driven SET v = 'a' WHERE id = 100"));
    $link->do('SET @x = 5');
    saw('user variable', $link->selectrow_array('SELECT @x + 1'));
    $link->do('CREATE TEMPORARY TABLE passing (n INT)');
    $link->do('INSERT INTO passing VALUES (1), (2)');
    saw('temporary table', $link->selectrow_array('SELECT SUM(n) FROM passing'));
    $link->do('SELECT 1/0');
    $link->do("SET SESSION sql_mode = 'ANSI_QUOTES'");
    saw('ansi quotes', $link->selectrow_array('SELECT COUNT("id") FROM "driven"'));
    saw('long', length $link->selectrow_array("SELECT REPEAT('x', 300000)"));
    saw('ping', $link->ping ? 1 : 0);
    $link->do('DROP TABLE driven');
    $link->disconnect;
    $link = connection();
    saw('a new session', $link->selectrow_array('SELECT @x, @@sql_mode = @@global.sql_mode'));
    $link->disconnect;
}
