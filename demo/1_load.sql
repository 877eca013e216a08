-- An ordinary table, full before anybody thought of mirroring it.
CREATE TABLE packages
(
    name text PRIMARY KEY,
    version text NOT NULL,
    section text,
    installed_size integer,
    maintainer text,
    description text
);
\copy packages FROM PROGRAM 'demo/packages' WITH (NULL '')
