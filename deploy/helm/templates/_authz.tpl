{{/* Return the environment of authz's containers. */}}
{{- define "authz.environment" -}}
{{- if or .root.Values.secrets.database .root.Values.authz.extraEnv -}}
env:
  {{- if .root.Values.secrets.database }}
  - {name: PGPASSFILE, value: /run/database/pgpass}
  {{- end }}
  {{- with .root.Values.authz.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Return what the containers that read gateway.yaml mount. */}}
{{- define "authz.mounts" -}}
- {name: gateway, mountPath: /etc/authz, readOnly: true}
{{- with .root.Values.secrets }}
{{- if .providerKeys }}
- {name: providers, mountPath: /run/providers, readOnly: true}
{{- end }}
{{- if .database }}
- {name: pgpass, mountPath: /run/database}
- {name: database-ca, mountPath: /run/database-ca, readOnly: true}
{{- end }}
{{- if .authzTls }}
- {name: tls, mountPath: /run/tls, readOnly: true}
{{- end }}
{{- end }}
- {name: state, mountPath: /var/lib/authz}
{{- with .root.Values.authz.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
