select 1
SELECT a.b.c, `x y`.`q``z`, t.level, level from T where a=-1 and b - 1 > -2 and c = - - 3 and (-1) and f(-1,+2)
select @x
select @`y`
select @'z'
select @@version
select @x:=1
select @a.b
select null, (null), (null,null), (1,null), null is null, not null, x is not null, f(null), f(null,1), f(1,null), case when null then null end, null+1
insert into t values (null,1),(1,null),(null,null)
insert into t values (1),(2),(3)
insert into t values (null),(null),(1)
insert into t(a,b) values (1,2),(3,4),(default,4)
select * from t where a in (1) and b in (1,2) and c in (null) and d in (1,null) and e in ((1,2),(3,4)) and f in (x,1) and g in (null, 1)
select 'a' 'b'
select "c"
select N'x'
select _utf8mb4'x'
select _binary 0x41
select x'41'
select b'01'
select 0x1f
select 0b11
select 1.5
select 1e5
select .5
select 1.
select 1e-5
select date'2020-01-01'
select {d '2020-01-01'}
select 1;
select 1; 
select a||b, a&&b, a<>b, a!=b, a or b, a and b, not a, !a, a<=>b, a->'$.x', a->>'$.y', a<<1, a>>1, a|1, a^1, a%1, a mod 1, a div 1
select a group by a with rollup
with x as (select 1) select * from x
select /*+ MAX_EXECUTION_TIME(1000) */ 1
select /*+ SET_VAR(sort_buffer_size=16M) BKA(@qb1 t1, `t2`) NO_INDEX_MERGE(t1@qb idx) QB_NAME(qb) */ 1
select /*!80000 1, */ /*!99999 2, */ 3 /* x */ -- y
select distinctrow a from t force index for join (x) where a rlike 'x' or a sounds like 'y'
select a from t limit 10 offset 5
select -1, +1, - 1, -(-1), 1-1, 1 - -1, a*-1, a in (-1), a between -1 and -2, a like -1, -x
update t set a=null, b=default, c=-1 where a is null
select 1 from dual where a = any (select 1) and a = some (select 2)
call p(1, null, @x)
set names utf8mb4
set transaction isolation level read committed
show tables like 'x'
select 1,2,3,a,4,5
select (1),(2),(3)
select (1,2),(3,4)
select f((1)), ((1)), (((1)))
select a from t order by 1, 2 desc, a
select a from t group by 1, 2 with rollup
select a from t order by 1
select a from t order by -1, 1+1, (1), '1', 1.5, 0, 99999999999, 0x1, 007
select a from t order by 1 limit 3
select a from t group by rollup(1,2)
select a, b from t group by (1)
select row_number() over (partition by 1 order by 2 desc, 3)
select a from t where a > - 2 and b <=> -1 and c != +3 and d >= -1 and e < -1
select a where not -1 and -1 or -1 and a is true and ~-1 and !-1
select a regexp -1, a rlike -1, a sounds like -1, a div -1, a mod -1, a % -1, a ^ -1, a & -1, a | -1, a << -1, a >> -1, interval -1 day + a
select case -1 when -1 then -1 else -1 end
select if(-1, -1, -1)
select distinct -1
select all -1
select sql_no_cache -1
select a from t where -1 having -1 order by -1
select a from t join u on -1
set @a := -1
select @a := -1
do -1
call p(-1)
select binary -1
select a between -1 and -1 and -1
select a collate utf8mb4_bin
select a -1
select a+1
select 1 -1
select 1 - 1
select (a)-1
select f()-1
select 'x'-1
select null-1
select a in (-1), a in (-1,-2), a not in (1,2)
select a limit 1, 2
select a limit 1 offset 2
select exists(select null), a is unknown, a is not unknown, a is true
select time '10:10'
select {ts '2020-01-01'}
select _utf8mb4 'x', _utf8mb4'x', _latin1 x'41', n'x', N'x', x'41', X'41', b'1', B'1', 0x41, 0b1, 0xg, 0b2, 1e, 1e5, 1e+5x
select 'a' 'b' 'c', "d"
select @x, @`y`, @'z', @"w", @a.b$c
select @x:=1, @x
select b.`select`, c.select, d . from1, `a``b`
select a as `from`, 1e5e, 1_000, 1a, 5.x, t.1a, t.1e5
select 1.e5, 1.5e5, .5e-3, t.5
select count(*)
select now(), now(6), current_timestamp, current_timestamp(), curdate(), current_date(), utc_date(), sysdate(), localtime
select mid('a',1,2), substr('a',1), substring('a' from 1 for 2), substring('a',1)
select user(), session_user(), system_user(), current_user, current_user()
select std(x), stddev(x), stddev_pop(x), variance(x), var_pop(x), stddev_samp(x), max(x), min(x), sum(x), group_concat(x separator ','), cast(x as char), extract(day from x), trim(both 'x' from y), position('a' in 'b'), date_add(x, interval 1 day), adddate(x, 1), subdate(x,1), date_sub(x, interval 1 sql_tsi_day)
select curdate, count, max, now from t
select a /*comment*/ , b -- x
select a # c
select a /*! , b */
select a /*!50000 , b */
select a /*!80000 /* nested */ , b */
select/**/1
select a--1
select a-- 1
select $b
select a$b
select `a`, ``
select "a"
select _utf8mb4"a"
select {d '2020-01-01'}, {fn now()}
select @@sql_mode, @@global.sql_mode, @@local.time_zone
select convert(-1, signed), cast(-1 as signed), a -> '$.x'
insert into t set a=-1 on duplicate key update b=-1
insert into t values row(-1,1), row(-1,2)
values row(-1)
insert into t value (-1)
update t set a=-1,b=+1 limit 5
kill -1
select a from t where a xor -1 || -1 && -1
create table t (a int default -1, b int not null, c int null, d timestamp null default null, e varchar(3) character set utf8mb4 collate utf8mb4_bin null, f int unsigned null, g int check (g is not null), h int as (null) virtual null, i int auto_increment null unique, primary key (a)) comment='x' engine=innodb
create table t (a int references b(c) on delete set null on update set null, b enum('a','b') not null)
alter table t add column x int null after y, modify z text null, alter w set default null, alter v set default -1
select * from json_table('[]', '$[*]' columns (a int path '$.a' null on empty null on error, b int path '$.b' default '1' on empty)) as t
select json_value(a, '$.y' null on error)
create event e on schedule every -1 day starts -1 ends -1 do select 1
create event e on schedule at -1 do select 1
set @x = null
set @x=-1, @y = +1
set character set utf8mb4
grant select on a.* to 'x'@'%', b@localhost
create user 'a'@'b' identified by 'x', c identified with caching_sha2_password
select ifnull(null, null), nullif(a, null), coalesce(null,1,a,null)
select a is null, a is not null, not null, null is not null, null = null, null <=> null
select interval null day + a, a between null and null, a like null, case null when null then null else null end, a in (null), a in (null,null), -null, +null, ~null, !null, (null), a div null
select distinct null, all_, null as x
select count(null), count(distinct null), max(null), group_concat(null order by null separator ',')
select a from t where null having null order by null, null
select a from t where a > all (select null) union select null, null
select binary null
select row(null,1)
call p(null)
call p(null, 1, null)
do null
execute s using @a, @b
prepare s from 'select 1'
prepare s from @x
select `a b`.`c`from`t`
select a.`b`.c
select t.*
select 'it''s', 'a\'b', "x""y"
select 1 union (select 2) union all select 3
select (select 1), (select null)
select a from t limit 1,2 for update
lock tables a read, b write
select 0x, 0b, 0X41, 0B1
select a.1, a.1.5
select 1 /*!*/
select /*!1*/
select /*! */ 1
select /*!800001 */ 2
select /*!80000 1*/
select /*!800001, 1*/
select 1 /*!99999 /* x */ y */ , 2
select /* x *//*+ no_icp(a) */ 1
select /*+ no_icp(a) */ /*+ no_icp(b) */ 1
select  /*+ unknown(a) no_icp(b) */ 1
select  /*+ no_icp(b) unknown(a) */ 1
select  /*+ no_icp(b) unknown(a) bka() */ 1
select  /*+ */ 1
select  /*+ JOIN_ORDER(@`q b` t1, t2@`x`) INDEX(t `i`, j) SET_VAR(a='x') SET_VAR(b=10) SET_VAR(c=1.5) RESOURCE_GROUP(x) MAX_EXECUTION_TIME(5) SEMIJOIN(@q FIRSTMATCH, LOOSESCAN) SUBQUERY(INTOEXISTS) NO_MERGE() */ 1
insert /*+ set_var(x=on) */ into t values (1)
replace /*+ bka(a) */ into t values (1)
update /*+ bka(a) */ t set a=1
delete /*+ bka(a) */ from t
(select /*+ bka(a) */ 1)
explain select 1
describe t
desc t
explain format=json select 1
create function f() returns int language javascript as $$ return 1 $$
create function f() returns int language javascript as $x$ return 1 $x$
select a$b, $c
select a from t order by 007
select a from t order by 4294967295
select a from t order by 4294967296
select a from t where substring(a from -1) 
select a like b escape -1
select char(-1 using utf8mb4)
select a from t limit 3 offset 4
select group_concat(a order by 1, 2 desc separator ',')
select a from t order by 1 asc, 2 for update
select a from t group by 1 having 1 order by 2
insert into t select a from t order by 1 on duplicate key update a=1
(select a from t order by 1) union select 2 order by 1
select a from t order by 1 collate utf8mb4_bin, 2
select a from t group by 1, 2, a+1, 3 order by null, 1, 0, 2
select sum(a) over (partition by 1, b order by 2 rows 1 preceding)
select sum(a) over w from t window w as (order by 1), v as (partition by 2)
delete from t order by 1 limit 2
update t set a=1 order by 1,2 limit 2
select a=-b
select a=-(1)
select a = ~1
select a<>-1
select a<=-1
select 1 as aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa from t
select 1 as `ääääääääääääääääääääääääääääääääääää` from t
select 1 as `x😀y` from t
select öä, @ö, t.ö, _utf8'x', _UTF8MB4'x', _foo
select level.x, level.*, level . x, a.level.b
select t .x, t. x from t
select x.`level`, `level`.y
select @@session . sql_mode
select a is not true, a not in (1), a not between 1 and 2, a not like 'x', a not regexp 'x', a member of ('[1]')
select cast(a as unsigned array), cast(1 as decimal(10,2)), convert('x' using utf8mb4)
select row(1,2) in ((1,2)), (a,b) in ((1,2),(3,4)), (1,2) = (3,4)
select a in (select 1), a in ('x'), a in ('x', b)
values row(1,2), row(3,4)
table t order by 1 limit 1
select all_, any_value(a), some, if(1,2,3), left('a',1), right('b',2), mod(1,2), repeat('x',3), truncate(1,2), insert('a',1,2,'b'), replace('a','b','c'), char(1,2), date('2020-01-01'), values(a), default(a), database(), schema(), user(), year(now()), interval(1,2,3), password
select utc_timestamp, utc_timestamp(), current_time, current_time(), localtimestamp(3)
select /*!090000 1*/
select /*!0900001*/
select /*!80000a*/
select /*!90705 1,*/ 2
select /*!90704 1,*/ 2
select /*!090704 1,*/ 2
select /*!090705 1,*/ 2
select /*!999999, */ 2
select 1 /*!99999 a /* b */ c */ + 2
select 1 /*!50000 + /* b */ 2 */
select/*+ no_icp(a)*/1
select 1 /*+ no_icp(a)*/
select /*+ BKA(`a``b`@`c`) no_icp(x @y) INDEX(t PRIMARY, join) SET_VAR(a = -1) SET_VAR(b='x''y') SET_VAR(c=0x1F) QB_NAME("x") */ 1
select /*+ max_execution_time(1) max_execution_time(2) */ 1
select /*+ bad ( */ 1
select /*+ 1, 2 */ 1
