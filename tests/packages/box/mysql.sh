#!/bin/sh
# mysql.sh MYSQL9: inside a box: a MySQL server with TLS on 127.0.0.1:3306, its data made once. MYSQL9 is where tests/support/mysql9.sh
# unpacked it on the host, bound to the same path here. Account app/app-secret on the schema shop; its CA is /var/lib/mysql9/ca.pem.
set -eu
mysql9=$1
data=/var/lib/mysql9
if [ ! -d $data/mysql ]; then
  mkdir -p $data
  cat >/etc/mysql9.sql <<'SQL'
CREATE DATABASE shop;
CREATE TABLE shop.lamp (id INT PRIMARY KEY, name VARCHAR(40) NOT NULL);
INSERT INTO shop.lamp VALUES (1, 'desk'), (2, 'floor'), (3, 'wall');
CREATE USER app@'%' IDENTIFIED BY 'app-secret' REQUIRE SSL;
GRANT ALL ON shop.* TO app@'%';
GRANT REPLICATION CLIENT ON *.* TO app@'%';
SQL
  cat >/etc/mysql9.cnf <<C
[mysqld]
basedir=$mysql9/root/usr
lc-messages-dir=$mysql9/root/usr/share/mysql
character-sets-dir=$mysql9/root/usr/share/mysql/charsets
plugin-dir=$mysql9/root/usr/lib/mysql/plugin
datadir=$data
socket=$data/s
bind-address=127.0.0.1
mysqlx=OFF
user=root
secure-file-priv=
performance-schema=OFF
innodb-buffer-pool-size=32M
innodb-redo-log-capacity=16M
innodb-use-native-aio=OFF
innodb-doublewrite=OFF
sync-binlog=0
innodb-flush-log-at-trx-commit=0
C
  "$mysql9/bin/mysqld" --defaults-file=/etc/mysql9.cnf --initialize-insecure --init-file=/etc/mysql9.sql
fi
systemd-run --quiet --unit=mysql9 "$mysql9/bin/mysqld" --defaults-file=/etc/mysql9.cnf
for _ in $(seq 300); do
  "$mysql9/bin/mysql" --no-defaults -uroot -S $data/s -e "SELECT 1" >/dev/null 2>&1 && break
  sleep 0.1
done
chmod 755 $data
chmod 644 $data/ca.pem
