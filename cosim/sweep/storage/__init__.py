"""What a sweep leaves on the disk: runs, their notes and manifests, digests of what they depend on."""
