// The hard cases with mysql2 (DRIVER=query or execute): prints what it saw, one line each, so that two runs can be compared.
const mysql = require(process.env.MODULES + '/mysql2/promise');

const connect = (more) => mysql.createConnection({
  socketPath: process.env.SOCKET, user: process.env.DBUSER, password: process.env.DBPASSWORD, database: 'app', charset: 'utf8mb4',
  dateStrings: true, ...more,
});
const show = (label, ...values) => console.log(label, JSON.stringify(values));
const prepared = process.env.DRIVER === 'execute';

async function main() {
  const link = await connect({ multipleStatements: !prepared });
  const ask = async (sql, values) => (await (prepared && values ? link.execute(sql, values) : link.query(sql, values)))[0];
  const attempt = async (label, sql, values) => {
    try {
      show(label, await ask(sql, values));
    } catch (error) {
      show(label, error.errno, error.sqlState, error.sqlMessage);
    }
  };
  // no JSON: MariaDB tells it only by its own extended metadata, which the endpoint does not offer
  const [rows, fields] = await link.query("SELECT 1, -2, 1.50, NULL, x'00FF', 'h\u2603', DATE '2024-02-29', TIME '-12:34:56'");
  show('types', rows, fields.map((field) => [field.name, field.columnType]));
  await ask('DROP TABLE IF EXISTS driven');
  await ask('CREATE TABLE driven (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60) UNIQUE, b LONGBLOB) AUTO_INCREMENT = 100');
  show('insert', (await ask('INSERT INTO driven (v) VALUES (?)', ["quote ' \\ \" \u2603"])).insertId);
  show('last insert id', await ask('SELECT LAST_INSERT_ID() AS id'));
  for (const value of [100, 101, null, '100']) show('rows', await ask('SELECT id, v FROM driven WHERE id = ? OR ? IS NULL', [value, value]));
  await link.beginTransaction();
  show('deleted', (await ask('DELETE FROM driven WHERE id = ?', [100])).affectedRows);
  await link.rollback();
  show('rolled back', await ask('SELECT COUNT(*) AS n FROM driven'));
  await attempt('duplicate', 'INSERT INTO driven (id) VALUES (?)', [100]);
  await attempt('no table', 'SELECT * FROM nowhere WHERE id = ?', [1]);
  await attempt('syntax', 'SELEC 1');
  await ask('SELECT 1/0');
  show('warnings', await ask('SHOW WARNINGS'));
  await ask('SET @x = 5');
  show('user variable', await ask('SELECT @x + 1 AS x'));
  await ask('CREATE TEMPORARY TABLE passing (n INT)');
  await ask('INSERT INTO passing VALUES (?)', [7]);
  show('temporary table', await ask('SELECT * FROM passing'));
  await ask('DROP TEMPORARY TABLE passing');
  await ask('INSERT INTO driven (v, b) VALUES (?, ?)', ['large', Buffer.alloc(3000000, 'lamp')]);
  show('large', (await ask('SELECT b FROM driven WHERE v = ?', ['large']))[0].b.length);
  await ask('DROP PROCEDURE IF EXISTS twice');
  await ask('CREATE PROCEDURE twice() BEGIN SELECT 1 AS a; SELECT 2 AS b, 3 AS c; END');
  show('several results', (await ask('CALL twice()', [])).slice(0, 2));
  if (!prepared) show('several statements', await ask('SELECT 1 AS a; SELECT 2 AS b'));
  await link.ping();
  await link.changeUser({ database: 'test' });
  show('changed', await ask('SELECT DATABASE() AS d, @x AS x'));
  await ask('DROP TABLE app.driven');
  const all = await Promise.all([1, 2, 3].map(async (id) => {
    const other = await connect();
    const [found] = await other.execute('SELECT v FROM kv WHERE id = ?', [id]);
    await other.end();
    return found;
  }));
  show('at once', all);
  await link.end();
}

main().catch((error) => {
  console.log('FAILED', error);
  process.exit(1);
});
