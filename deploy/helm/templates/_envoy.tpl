{{/* Return what both containers of Envoy's Pod mount: where certificates are is in Envoy's configuration. */}}
{{- define "envoy.mounts" -}}
{{- if .Values.secrets.envoyTls }}
- {name: tls, mountPath: /run/tls, readOnly: true}
{{- end }}
{{- if .Values.secrets.listenerTls }}
- {name: listener-tls, mountPath: /run/listener-tls, readOnly: true}
{{- end }}
{{- with .Values.envoy.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}
