\set a random(1, 40)
\set b random(1, 40)
\set key random(1, 2000)
\set other random(1, 2000)
BEGIN;
SELECT n FROM hot WHERE id = :a FOR KEY SHARE;
SAVEPOINT s;
UPDATE hot SET n = n + 1, filler = 'filler ' || :key WHERE id = :a;
SELECT n FROM hot WHERE id = :b FOR KEY SHARE;
RELEASE s;
INSERT INTO child VALUES (:key, :b, 'note');
COMMIT;
BEGIN;
SELECT n FROM hot WHERE id = :b FOR SHARE;
SELECT n FROM hot WHERE id = :a FOR NO KEY UPDATE;
ROLLBACK;
INSERT INTO pair VALUES (:key, :other, 0) ON CONFLICT DO NOTHING;
INSERT INTO pair VALUES (:key, :key + 5000, 0) ON CONFLICT (a) DO UPDATE SET n = pair.n + 1;
DELETE FROM pair WHERE a = :other;
DELETE FROM child WHERE id = :other;
