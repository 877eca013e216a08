-- What came back, as SQL sees it: mixpeek.taxonomies and mixpeek.clusters. (No worker runs in this test.)
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS mixpeek_docs;
RESET client_min_messages;
CREATE TABLE v (id int PRIMARY KEY);
CREATE TEMP VIEW came_back AS SELECT key, enrichments, relation, collection, document_id, state, server, marker FROM mixpeek.documents;
ALTER VIEW came_back ALTER relation SET DEFAULT 'v', ALTER collection SET DEFAULT 'c', ALTER document_id SET DEFAULT 'doc',
    ALTER state SET DEFAULT 'mirrored', ALTER server SET DEFAULT 'mixpeek', ALTER marker SET DEFAULT 'm';

-- 2025-09: every field, and as little of it as the contract allows
INSERT INTO came_back VALUES
    ('1', '{
    "clusters": [{"document_id": "doc_9", "cluster_id": "cluster_001", "distance_to_centroid": 0.15,
                  "coordinates": [0.12, 0.23, -3e-2, 5], "features": {"category": "electronics"},
                  "source_details": {"type": "collection", "source_id": "col_products_v1"}},
                 {"cluster_id": "cluster_002", "distance_to_centroid": 1, "coordinates": []}],
    "taxonomies": [{"taxonomy_id": "tax_products", "node_id": "node_phones", "path": ["products", "electronics", "phones"],
                    "label": "Mobile Phones", "score": 0.87},
                   {"taxonomy_id": "tax_bare", "node_id": "node_bare"}]}'),
    ('2', '{"clusters": [], "taxonomies": []}'),
    ('3', '{}'),
    ('4', NULL);
SELECT * FROM mixpeek.taxonomies ORDER BY key, taxonomy_id;
SELECT relation, collection, key, document_id, cluster_id, distance_to_centroid FROM mixpeek.clusters ORDER BY key, cluster_id;
SELECT cluster_id, coordinates, source_type, source_id, features, member_document_id FROM mixpeek.clusters ORDER BY key, cluster_id;

-- 2026-02: the same at the document's root; a taxonomy's name may hold what separates names
DELETE FROM mixpeek.documents;
INSERT INTO came_back VALUES
    ('1', '{"taxonomy_products_node_id": "node_phones", "taxonomy_products_label": "Mobile Phones",
    "taxonomy_products_path": ["products", "phones"], "taxonomy_products_score": 0.87,
    "taxonomy_of_paths_label": "A", "taxonomy_score_score": 1,
    "cluster_id": "cl_marketing", "cluster_distance": 0.25, "cluster_label": "no field of the view",
    "taxonomy_label": "no name", "taxonomy_x_colour": "no field", "my_taxonomy_x_label": "no taxonomy"}'),
    ('2', '{"cluster_id": "cl_bare"}'),
    ('3', '{"cluster_distance": 1}');
SELECT * FROM mixpeek.taxonomies ORDER BY key, taxonomy_id;
SELECT * FROM mixpeek.clusters ORDER BY key, cluster_id;

-- null, types that the contracts do not have, numbers that double precision does not: NULL, and no error
-- that would take all other documents out of the views
DELETE FROM mixpeek.documents;
INSERT INTO came_back VALUES
    ('nulls', '{
    "clusters": [{"document_id": null, "cluster_id": "c", "distance_to_centroid": null, "coordinates": null,
                  "features": null, "source_details": null}],
    "taxonomies": [{"taxonomy_id": "t", "node_id": null, "path": null, "label": null, "score": null}]}'),
    ('odd', '{
    "clusters": [{"cluster_id": 7, "document_id": {"a": 1}, "distance_to_centroid": "near", "coordinates": "x",
                  "source_details": [1], "features": "x"},
                 {"cluster_id": "in", "coordinates": ["x", null, true, 1.5, {"a": 1}], "source_details": {"type": 1}}],
    "taxonomies": [{"taxonomy_id": 7, "node_id": true, "path": "x", "label": ["l"], "score": "0.5"},
                   {"taxonomy_id": "in", "path": [1, null, {"a": 1}, "x"]}]}'),
    ('no objects', '{"clusters": ["x", null, 1, []], "taxonomies": ["x", null, 1, []]}'),
    ('no arrays', '{"clusters": {"cluster_id": "c"}, "taxonomies": "x"}'),
    ('no object 1', '["cluster_id", "taxonomies"]'),
    ('no object 2', '"cluster_id"'),
    ('no object 3', 'null'),
    ('large', '{"clusters": [{"cluster_id": "c", "distance_to_centroid": 1e400, "coordinates": [1e400, -1e400, 1e308, 1e-400]}],
    "taxonomies": [{"taxonomy_id": "t", "score": -1e400}], "cluster_id": "root", "cluster_distance": 1e-400, "taxonomy_u_score": 1e400}'),
    ('root', '{"taxonomy_n_label": null, "taxonomy_n_path": null, "taxonomy_o_label": {"a": 1},
    "taxonomy_o_path": "x", "taxonomy_o_score": "0.5", "taxonomy_o_node_id": 7, "cluster_id": null, "cluster_distance": 1}'),
    ('root too', '{"cluster_id": 7, "cluster_distance": "x"}');
SELECT key, taxonomy_id, node_id, path, label, score FROM mixpeek.taxonomies ORDER BY key, taxonomy_id;
SELECT key, cluster_id, distance_to_centroid, coordinates, source_type, source_id, features, member_document_id
  FROM mixpeek.clusters ORDER BY key, cluster_id;

-- documents by what is in their enrichments: the index answers
TRUNCATE mixpeek.documents;
INSERT INTO mixpeek.documents (relation, collection, key, state, enrichments, server, marker)
    SELECT 'v', 'c', i, 'mirrored', jsonb_build_object('taxonomies', jsonb_build_array(jsonb_build_object(
           'taxonomy_id', 't', 'node_id', 'n' || i % 100))), 'mixpeek', 'm' FROM generate_series(1, 200) i;
SET enable_seqscan = off;
EXPLAIN (COSTS OFF)
SELECT key FROM mixpeek.documents WHERE enrichments @> '{"taxonomies": [{"node_id": "n42"}]}';
SELECT key FROM mixpeek.documents WHERE enrichments @> '{"taxonomies": [{"node_id": "n42"}]}' ORDER BY key;
EXPLAIN (COSTS OFF)
SELECT key FROM mixpeek.documents WHERE enrichments @? '$.taxonomies[*] ? (@.node_id == "n42")';
RESET enable_seqscan;

-- the columns, as documented
SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) AS type
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
 WHERE c.oid IN ('mixpeek.taxonomies'::regclass, 'mixpeek.clusters'::regclass)
 ORDER BY c.relname DESC, a.attnum;

DROP VIEW came_back;
DROP TABLE v;
SELECT count(*) FROM mixpeek.documents;
DROP EXTENSION mixpeek_docs;
