-- Heap and heap2: every way a row comes, changes and goes.
CREATE TABLE plain (id int, a int, b text, c text) WITH (fillfactor = 80, autovacuum_enabled = off);
INSERT INTO plain SELECT i, i % 100, repeat('x', i % 50), NULL FROM generate_series(1, 4000) i;
CREATE INDEX plain_a ON plain (a);
CREATE UNIQUE INDEX plain_id ON plain (id);

-- HOT updates with shared beginnings and ends, with null bitmaps that come and go; then non-HOT ones.
UPDATE plain SET b = b || 'y' WHERE id % 3 = 0;
UPDATE plain SET c = 'long ' || repeat('z', 60) WHERE id % 5 = 0;
UPDATE plain SET c = NULL WHERE id % 10 = 0;
UPDATE plain SET a = a + 1 WHERE id % 7 = 0;
UPDATE plain SET b = overlay(b placing 'Q' from 10) WHERE length(b) > 20;
SELECT count(*) FROM plain WHERE a = 5;  -- prunes
DELETE FROM plain WHERE id % 4 = 0;
VACUUM plain;
INSERT INTO plain SELECT i, i, 'again', 'row' FROM generate_series(10001, 12000) i;
UPDATE plain SET b = b || '!' WHERE id > 10500;
VACUUM (FREEZE) plain;
UPDATE plain SET a = -a WHERE id < 500;   -- clears visibility map bits, also on other pages
DELETE FROM plain WHERE id BETWEEN 600 AND 700;
SELECT count(*) FROM (SELECT * FROM plain WHERE id BETWEEN 800 AND 900 FOR UPDATE) s;
SELECT count(*) FROM (SELECT * FROM plain WHERE id BETWEEN 850 AND 950 FOR KEY SHARE) s;
VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) plain;

-- Vacuum to the end: pages cut off, then the map cut in the middle of a byte.
CREATE TABLE cut (id int, filler text) WITH (autovacuum_enabled = off);
INSERT INTO cut SELECT i, repeat('f', 200) FROM generate_series(1, 6000) i;
VACUUM (FREEZE) cut;
DELETE FROM cut WHERE id > 1100;
VACUUM cut;
INSERT INTO cut SELECT i, repeat('g', 200) FROM generate_series(1, 500) i;
VACUUM (FREEZE) cut;

-- Many rows at once, onto fresh and onto half-full pages, and frozen from the start.
CREATE TABLE copied (id int, t text);
COPY copied FROM PROGRAM 'seq 1 5000 | sed "s/.*/&,text-&/"' WITH (FORMAT csv);
COPY copied FROM PROGRAM 'seq 5001 9000 | sed "s/.*/&,x/"' WITH (FORMAT csv);
DELETE FROM copied WHERE id % 2 = 0;
VACUUM copied;
COPY copied FROM PROGRAM 'seq 1 3000 | sed "s/.*/&,more-&/"' WITH (FORMAT csv);
BEGIN;
CREATE TABLE frozen (id int, t text);
COPY frozen FROM PROGRAM 'seq 1 5000 | sed "s/.*/&,cold-&/"' WITH (FORMAT csv, FREEZE);
COMMIT;
VACUUM frozen;
UPDATE frozen SET t = 'warm' WHERE id % 50 = 0;
COPY frozen FROM PROGRAM 'seq 1 200 | sed "s/.*/&,tail/"' WITH (FORMAT csv);

-- Rows moved between partitions, out-of-line values, upserts.
CREATE TABLE parts (k int, v text) PARTITION BY LIST (k);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES IN (0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES IN (1);
INSERT INTO parts SELECT i % 2, 'v' || i FROM generate_series(1, 1000) i;
UPDATE parts SET k = 1 - k WHERE v LIKE '%7';
CREATE TABLE big (id int PRIMARY KEY, v text);
ALTER TABLE big ALTER v SET STORAGE EXTERNAL;
INSERT INTO big SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 60) i;
UPDATE big SET v = v || 'tail' WHERE id % 2 = 0;
DELETE FROM big WHERE id % 3 = 0;
VACUUM big;
CREATE TABLE upsert (id int PRIMARY KEY, n int);
INSERT INTO upsert SELECT i % 300, 1 FROM generate_series(1, 1) i;
INSERT INTO upsert SELECT i, 1 FROM generate_series(1, 300) i ON CONFLICT (id) DO UPDATE SET n = upsert.n + 1;
INSERT INTO upsert SELECT i, 1 FROM generate_series(100, 400) i ON CONFLICT (id) DO UPDATE SET n = upsert.n + 1;

-- Savepoints: rows touched and locked by several subtransactions, some of them undone.
BEGIN;
SAVEPOINT a;
UPDATE plain SET b = 'a' WHERE id BETWEEN 1 AND 99;
SAVEPOINT b;
SELECT count(*) FROM (SELECT * FROM plain WHERE id BETWEEN 50 AND 150 FOR SHARE) s;
DELETE FROM plain WHERE id BETWEEN 120 AND 130;
ROLLBACK TO b;
SELECT count(*) FROM (SELECT * FROM plain WHERE id BETWEEN 1 AND 150 FOR NO KEY UPDATE) s;
UPDATE plain SET a = a + 5 WHERE id BETWEEN 90 AND 140;
COMMIT;
BEGIN;
UPDATE plain SET b = 'undone';
ROLLBACK;
-- Locks on rows whose HOT update was undone: they forget their successor.
SELECT count(*) FROM (SELECT * FROM plain WHERE id BETWEEN 1 AND 800 FOR UPDATE) s;
SELECT count(*) FROM (SELECT * FROM plain WHERE id BETWEEN 801 AND 1200 FOR KEY SHARE) s;
VACUUM plain;

-- Two-phase, sequences, truncation, rewrites, a second database by copying files.
BEGIN;
UPDATE plain SET b = 'prepared' WHERE id < 200;
PREPARE TRANSACTION 'one';
BEGIN;
DELETE FROM plain WHERE id BETWEEN 300 AND 400;
PREPARE TRANSACTION 'two';
COMMIT PREPARED 'one';
ROLLBACK PREPARED 'two';
CREATE SEQUENCE numbers;
SELECT count(nextval('numbers')) FROM generate_series(1, 500);
SELECT setval('numbers', 5);
ALTER SEQUENCE numbers INCREMENT 3;
TRUNCATE copied;
INSERT INTO copied SELECT i, 'new' FROM generate_series(1, 1000) i;
CLUSTER plain USING plain_id;
VACUUM FULL cut;
UPDATE plain SET b = 'clustered' WHERE id % 9 = 0;
ANALYZE;

-- What concurrent.sql works on: few rows, so that sessions meet.
CREATE TABLE hot (id int PRIMARY KEY, n int, filler text) WITH (fillfactor = 70);
INSERT INTO hot SELECT i, 0, repeat('h', 40) FROM generate_series(1, 40) i;
CREATE TABLE child (id int, parent int REFERENCES hot (id) ON DELETE CASCADE, note text);
CREATE TABLE pair (a int UNIQUE, b int UNIQUE, n int);
