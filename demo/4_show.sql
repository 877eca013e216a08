-- Rows with their documents.
SELECT p.name, left(p.version, 24) AS version, d.document_id, d.state, d.mirrored_at::timestamptz(0)
  FROM packages p JOIN mixpeek.documents d ON d.relation = 'packages'::regclass AND d.key = p.name
 ORDER BY d.mirrored_at DESC, p.name LIMIT 8;

-- What they are about: every package with its label, and each label with its surest packages.
SELECT p.name, array_to_string(t.path, ' > ') AS path, t.label, t.score
  FROM packages p JOIN mixpeek.taxonomies t ON t.relation = 'packages'::regclass AND t.key = p.name
 ORDER BY p.name LIMIT 5;

SELECT t.label, count(*) AS packages, max(t.score) AS score,
       array_to_string((array_agg(p.name ORDER BY t.score DESC, p.name))[1:3], ', ') AS surest
  FROM packages p JOIN mixpeek.taxonomies t ON t.relation = 'packages'::regclass AND t.key = p.name
 GROUP BY t.label ORDER BY packages DESC, t.label LIMIT 10;

-- What belongs together: the clusters, each with the members next to its centre.
SELECT c.cluster_id, count(*) AS members, min(c.distance_to_centroid) AS nearest, max(c.distance_to_centroid) AS farthest,
       array_to_string((array_agg(p.name ORDER BY c.distance_to_centroid, p.name))[1:4], ', ') AS next_to_centre
  FROM packages p JOIN mixpeek.clusters c ON c.relation = 'packages'::regclass AND c.key = p.name
 GROUP BY c.cluster_id ORDER BY members DESC, c.cluster_id;
