-- Btree: inserts everywhere, splits on every level, duplicates and posting lists, deletion of tuples and pages.
SELECT setseed(0.42);

-- Random inserts and deletes of unique keys; the tree grows to three levels with wide keys.
CREATE TABLE tree (k int, w text) WITH (autovacuum_enabled = off);
CREATE INDEX tree_k ON tree (k);
CREATE INDEX tree_w ON tree (w);
INSERT INTO tree SELECT (random() * 1000000)::int, md5(i::text) FROM generate_series(1, 9000) i;
DELETE FROM tree WHERE k % 3 = 0;
VACUUM tree;
INSERT INTO tree SELECT (random() * 1000000)::int, md5((i + 50000)::text) FROM generate_series(1, 3000) i;

-- Ascending and descending keys: right-most and left-most splits.
CREATE TABLE ordered (up int PRIMARY KEY, down int UNIQUE);
INSERT INTO ordered SELECT i, -i FROM generate_series(1, 6000) i;

-- Duplicates: deduplication, posting list splits, posting lists that vacuum shrinks.
CREATE TABLE dup (k int, t text) WITH (autovacuum_enabled = off);
CREATE INDEX dup_k ON dup (k);
CREATE INDEX dup_t ON dup (t);
CREATE INDEX dup_plain ON dup (k, t) WITH (deduplicate_items = off);
INSERT INTO dup SELECT i % 20, 'same' FROM generate_series(1, 6000) i;
INSERT INTO dup SELECT (random() * 20)::int, 'other ' || (i % 3) FROM generate_series(1, 3000) i;
DELETE FROM dup WHERE ctid IN (SELECT ctid FROM dup WHERE random() < 0.3);
VACUUM dup;
-- Freed heap places in the middle: new addresses fall inside of existing posting lists.
INSERT INTO dup SELECT (random() * 20)::int, CASE WHEN i % 2 = 0 THEN 'same' ELSE 'other 1' END
  FROM generate_series(1, 4000) i;
DELETE FROM dup WHERE k IN (3, 4, 5);
VACUUM dup;
INSERT INTO dup SELECT 4, 'same' FROM generate_series(1, 1500) i;
DELETE FROM dup WHERE k = 7 AND random() < 0.9;
VACUUM dup;

-- Version churn: bottom-up and simple deletion of index tuples whose rows are dead.
CREATE TABLE churn (id int PRIMARY KEY, v int, pad text) WITH (autovacuum_enabled = off);
CREATE INDEX churn_v ON churn (v);
CREATE INDEX churn_vp ON churn (v, pad);
INSERT INTO churn SELECT i, i % 10, 'p' FROM generate_series(1, 800) i;
DO $$
BEGIN
  FOR r IN 1..12 LOOP
    UPDATE churn SET v = v + 1, pad = 'p' || r;
    COMMIT;
    PERFORM count(*) FROM churn WHERE id BETWEEN 1 AND 400;
  END LOOP;
END $$;
SET enable_seqscan = off;
SELECT count(*) FROM churn WHERE v < 100;
SELECT count(*) FROM churn WHERE id > 0;
INSERT INTO churn SELECT i, i % 10, 'q' FROM generate_series(1001, 1800) i;
RESET enable_seqscan;

-- Page deletion: whole ranges go, so do leaves and then inner pages; the pages are then used again.
CREATE TABLE shrink (k int, pad text) WITH (autovacuum_enabled = off);
CREATE INDEX shrink_k ON shrink (k);
CREATE INDEX shrink_p ON shrink (pad, k);
INSERT INTO shrink SELECT i, repeat('w', 400) || (i / 50) FROM generate_series(1, 4000) i;
DELETE FROM shrink WHERE k BETWEEN 500 AND 3500;
VACUUM shrink;
SELECT txid_current();
SELECT txid_current();
VACUUM shrink;
INSERT INTO shrink SELECT i, repeat('w', 400) || (i / 50) FROM generate_series(500, 1500) i;
DELETE FROM shrink;
VACUUM shrink;
SELECT txid_current();
VACUUM shrink;
INSERT INTO shrink SELECT i, 'short' FROM generate_series(1, 1000) i;

-- Wide keys, so that few fit on a page and suffix truncation matters; columns that are only carried.
CREATE TABLE wide (a text, b int, c text);
CREATE INDEX wide_abc ON wide (a, b, c);
CREATE INDEX wide_include ON wide (b) INCLUDE (c, a);
INSERT INTO wide SELECT repeat(md5((i % 40)::text), 20), i % 7, md5(i::text) FROM generate_series(1, 2500) i;
INSERT INTO wide SELECT NULL, NULL, NULL FROM generate_series(1, 1500) i;
UPDATE wide SET b = b + 1 WHERE b < 3;
DELETE FROM wide WHERE a IS NULL;
VACUUM wide;

-- Unique violations leave dead rows behind; a build over existing rows logs full images.
DO $$
BEGIN
  FOR i IN 1..200 LOOP
    BEGIN
      INSERT INTO ordered VALUES (i, 100000 + i);
    EXCEPTION WHEN unique_violation THEN NULL;
    END;
  END LOOP;
END $$;
CREATE INDEX tree_both ON tree (w, k);
REINDEX TABLE dup;
DROP INDEX tree_w;
