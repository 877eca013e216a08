CREATE EXTENSION mixpeek_docs;

-- Where the API is, and with which key. (base_url is only needed to reach the local server.)
CREATE SERVER mixpeek FOREIGN DATA WRAPPER mixpeek_docs OPTIONS (namespace 'demo', base_url :'base_url');
CREATE USER MAPPING FOR CURRENT_USER SERVER mixpeek OPTIONS (api_key :'api_key');

-- From here on every row has its document. The template is the API's own request with columns in it.
SELECT mixpeek.mirror('packages', 'col_packages', '{
    "metadata": {"name": "$name", "version": "$version", "section": "$section",
                 "size_kb": "$installed_size", "description": "$description"}}');
