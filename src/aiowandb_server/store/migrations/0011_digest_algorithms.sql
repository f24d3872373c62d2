-- The digests in the manifest of a version: MD5, or XXH128 if its client asked for it. Content with
-- a digest by XXH128 is in the table `content` as `xxh128:` and the digest.
ALTER TABLE artifact ADD COLUMN digest_algorithm TEXT NOT NULL DEFAULT 'MANIFEST_MD5';
