-- What the concurrent sessions left: multixacts to freeze, dead rows of all kinds.
VACUUM (FREEZE) hot;
VACUUM (FREEZE) child;
VACUUM (FREEZE) pair;
DROP TABLE wide;
CREATE TABLE wide (a int);
INSERT INTO wide SELECT i FROM generate_series(1, 2000) i;
VACUUM (FREEZE);
