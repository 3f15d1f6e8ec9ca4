-- Makes a server write every kind of log record that is not a block change, and most that are.
-- Needs max_prepared_transactions, wal_level = logical and allow_in_place_tablespaces.

-- Relations: created, rewritten, truncated, dropped; committed and rolled back.
CREATE TABLE plain (id int PRIMARY KEY, v text);
INSERT INTO plain SELECT i, repeat('x', i % 90) FROM generate_series(1, 5000) i;
CREATE INDEX ON plain (v);
CREATE UNLOGGED TABLE unlogged (id int PRIMARY KEY);
INSERT INTO unlogged SELECT generate_series(1, 100);
CREATE TABLE wide (id int, big text);
ALTER TABLE wide ALTER big SET STORAGE EXTERNAL;
INSERT INTO wide SELECT i, repeat(md5(i::text), 400) FROM generate_series(1, 40) i;
DELETE FROM wide WHERE id % 2 = 0;
CREATE SEQUENCE numbers CACHE 1;
SELECT count(nextval('numbers')) FROM generate_series(1, 200);
BEGIN; CREATE TABLE gone (a int); INSERT INTO gone VALUES (1); ROLLBACK;
BEGIN; DROP TABLE wide; COMMIT;
UPDATE plain SET v = 'hot' WHERE id % 7 = 0;
UPDATE plain SET id = id + 100000 WHERE id % 11 = 0;
DELETE FROM plain WHERE id % 13 = 0;
SELECT count(*) FROM (SELECT 1 FROM plain WHERE id < 500 FOR UPDATE) s;
VACUUM (FREEZE) plain;
INSERT INTO plain SELECT i, 'y' FROM generate_series(200000, 203000) i;
UPDATE plain SET v = 'z' WHERE id BETWEEN 300 AND 600;
BEGIN; SELECT count(*) FROM (SELECT 1 FROM plain WHERE id < 50 FOR SHARE) s; ROLLBACK;
VACUUM plain;
DELETE FROM plain WHERE id > 150000;
VACUUM plain;
CREATE TABLE tail (a int); INSERT INTO tail SELECT generate_series(1, 30000);
DELETE FROM tail WHERE a > 300;
VACUUM tail; VACUUM (FREEZE) tail;
TRUNCATE unlogged;
CREATE TABLE cut (a int); INSERT INTO cut SELECT generate_series(1, 9000); TRUNCATE cut;
CREATE INDEX ON plain USING hash (v);
CREATE INDEX ON plain USING brin (id);
CREATE TABLE arrays (a int[]); CREATE INDEX ON arrays USING gin (a);
INSERT INTO arrays SELECT ARRAY[i % 10, i % 7] FROM generate_series(1, 500) i;
CREATE TABLE points (p point); CREATE INDEX ON points USING gist (p); CREATE INDEX ON points USING spgist (p);
INSERT INTO points SELECT point(i % 50, i / 50) FROM generate_series(1, 2000) i;
VACUUM FULL pg_class;
REINDEX TABLE pg_type;
CLUSTER plain USING plain_pkey;

-- Subtransactions: few, and so many that their parents are announced.
BEGIN; SAVEPOINT a; INSERT INTO plain VALUES (900001, 'a'); SAVEPOINT b; INSERT INTO plain VALUES (900002, 'b');
ROLLBACK TO b; INSERT INTO plain VALUES (900003, 'c'); RELEASE a; COMMIT;
DO $$ BEGIN FOR i IN 1..300 LOOP BEGIN INSERT INTO plain VALUES (910000 + i, 's');
  IF i % 5 = 0 THEN RAISE EXCEPTION 'x'; END IF; EXCEPTION WHEN raise_exception THEN NULL; END; END LOOP; END $$;
-- Over a page of pg_xact and many of pg_commit_ts.
DO $$ BEGIN FOR i IN 1..40000 LOOP PERFORM pg_current_xact_id(); COMMIT; END LOOP; END $$;

-- Two phases: committed, rolled back, with subtransactions and dropped relations, and one that stays.
CREATE TABLE two (a int); CREATE TABLE three (a int);
BEGIN; INSERT INTO two VALUES (1); SAVEPOINT s; INSERT INTO two VALUES (2); DROP TABLE three;
CREATE TABLE four (a int); PREPARE TRANSACTION 'committed';
COMMIT PREPARED 'committed';
BEGIN; INSERT INTO two VALUES (3); CREATE TABLE five (a int); PREPARE TRANSACTION 'rolled back';
ROLLBACK PREPARED 'rolled back';
BEGIN; INSERT INTO two VALUES (4); PREPARE TRANSACTION 'stays';

-- Multixacts: a prepared transaction holds locks that others then share.
CREATE TABLE locked (id int PRIMARY KEY, v int);
INSERT INTO locked SELECT i, 0 FROM generate_series(1, 3000) i;
BEGIN; SELECT count(*) FROM (SELECT 1 FROM locked FOR KEY SHARE) s; PREPARE TRANSACTION 'holder';
DO $$ BEGIN FOR i IN 1..2500 LOOP PERFORM 1 FROM locked WHERE id = i FOR KEY SHARE; COMMIT; END LOOP; END $$;
UPDATE locked SET v = 1 WHERE id <= 200;
COMMIT PREPARED 'holder';

-- Databases both ways, tablespaces, relation maps of a new database.
CREATE DATABASE by_files STRATEGY file_copy;
CREATE DATABASE by_log STRATEGY wal_log;
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE place LOCATION '';
CREATE TABLE placed (a int) TABLESPACE place;
INSERT INTO placed SELECT generate_series(1, 1000);
ALTER TABLE placed SET TABLESPACE pg_default;
DROP TABLESPACE place;
DROP DATABASE by_files;

-- Replication: origins, messages, restore points, a switch.
SELECT pg_replication_origin_create('somewhere');
SELECT pg_replication_origin_advance('somewhere', '0/123');
SELECT pg_replication_origin_session_setup('somewhere');
BEGIN; SELECT pg_replication_origin_xact_setup('0/ABCD', '2020-01-01'); INSERT INTO two VALUES (9); COMMIT;
SELECT pg_replication_origin_session_reset();
SELECT pg_replication_origin_drop('somewhere');
SELECT pg_logical_emit_message(true, 'prefix', repeat('m', 40000));
SELECT pg_create_restore_point('a place');
SELECT pg_switch_wal();
CHECKPOINT;
SELECT pg_switch_wal();
INSERT INTO two VALUES (10);
-- Oids: over the edge of a reserved block.
CREATE TABLE big_objects AS SELECT lo_create(0) AS id FROM generate_series(1, 9000);
CHECKPOINT;
