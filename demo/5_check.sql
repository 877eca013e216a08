-- Rows in the table = documents on the server? The server is asked for all of its documents.
CREATE TEMPORARY TABLE served AS
SELECT document ->> 'document_id' AS document_id, document -> 'metadata' AS metadata
  FROM mixpeek.list_documents('col_packages') document;

CREATE TEMPORARY VIEW comparison AS
SELECT count(p.name) AS rows,
       count(s.document_id) AS documents,
       count(*) FILTER (WHERE s.metadata ->> 'version' = p.version
                          AND s.metadata ->> 'section' IS NOT DISTINCT FROM p.section
                          AND s.metadata ->> 'description' IS NOT DISTINCT FROM p.description) AS equal,
       count(*) FILTER (WHERE s.document_id IS NULL) AS missing,
       count(*) FILTER (WHERE p.name IS NULL) AS too_many,
       count(s.document_id) - count(DISTINCT s.metadata ->> 'name') AS doubled
  FROM packages p FULL JOIN served s ON s.metadata ->> 'name' = p.name;
TABLE comparison;

SELECT rows > 0 AND equal = rows AND equal = documents AS passed FROM comparison \gset
\if :passed
    \echo 'rows in the table = documents on the server: yes'
\else
    DO $$ BEGIN RAISE 'the rows in the table are not the documents on the server'; END $$;
\endif
