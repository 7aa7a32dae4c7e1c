"""The deployment files: checked against their schemas, and run where no container is needed."""
