package stsemulator

import (
	"encoding/json"
	"net/http"
)

// AdminPath is the path of the admin endpoint, on the same listener as STS. It uses JSON; an error is {"error": "..."}:
//
//	GET    /_admin/calls           the recorded calls
//	DELETE /_admin/calls           delete them
//	GET    /_admin/sessions        the issued sessions
//	POST   /_admin/session         {"accessKeyID": ..., "secretAccessKey": ..., "sessionToken": ...}: their session
//	GET    /_admin/faults          the active faults
//	POST   /_admin/faults          add a Fault; returns it with its id
//	DELETE /_admin/faults          remove all
//	DELETE /_admin/faults/{id}     remove one
//	GET    /_admin/keys?user=ARN   a user's keys without secrets
//	POST   /_admin/keys            {"userARN": ..., "replace": bool}; returns the new key with its secret
//	PUT    /_admin/keys/{id}       {"inactive": bool}
//	DELETE /_admin/keys/{id}       delete a key
//	PUT    /_admin/roles           {"account": ..., "role": Role}: add or replace a role
//	PUT    /_admin/trust           {"roleARN": ..., "trust": [Trust]}: replace a trust policy
//	PUT    /_admin/mfa             {"userARN": ..., "device": MFADevice}: add or replace one; returns {"serialNumber": ...}
//	DELETE /_admin/mfa?serial=ARN  delete a device
//	PUT    /_admin/oidc            {"account": ..., "provider": OIDCProvider}: add or replace one; returns {"arn": ...}
//	PUT    /_admin/trustanchors    add or replace a TrustAnchor
//	PUT    /_admin/profiles        add or replace a Profile
const AdminPath = "/_admin/"

func (s *Server) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /_admin/calls", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Calls()) })
	mux.HandleFunc("DELETE /_admin/calls", func(w http.ResponseWriter, _ *http.Request) { s.ClearCalls(); done(w, nil) })
	mux.HandleFunc("GET /_admin/sessions", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Sessions()) })
	mux.HandleFunc("POST /_admin/session", with(s.adminSession))

	mux.HandleFunc("GET /_admin/faults", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, s.Faults()) })
	mux.HandleFunc("POST /_admin/faults", with(s.adminSetFault))
	mux.HandleFunc("DELETE /_admin/faults", func(w http.ResponseWriter, _ *http.Request) { s.ClearFaults(); done(w, nil) })
	mux.HandleFunc("DELETE /_admin/faults/{id}", func(w http.ResponseWriter, r *http.Request) { s.ClearFault(r.PathValue("id")); done(w, nil) })

	mux.HandleFunc("GET /_admin/keys", s.adminListKeys)
	mux.HandleFunc("POST /_admin/keys", with(s.adminCreateKey))
	mux.HandleFunc("PUT /_admin/keys/{id}", with(s.adminChangeKey))
	mux.HandleFunc("DELETE /_admin/keys/{id}", func(w http.ResponseWriter, r *http.Request) { done(w, s.DeleteAccessKey(r.PathValue("id"))) })

	mux.HandleFunc("PUT /_admin/roles", with(s.adminPutRole))
	mux.HandleFunc("PUT /_admin/trust", with(s.adminSetTrust))
	mux.HandleFunc("PUT /_admin/mfa", with(s.adminPutDevice))
	mux.HandleFunc("DELETE /_admin/mfa", func(w http.ResponseWriter, r *http.Request) { done(w, s.DeleteMFADevice(r.URL.Query().Get("serial"))) })
	mux.HandleFunc("PUT /_admin/oidc", with(s.adminPutProvider))
	mux.HandleFunc("PUT /_admin/trustanchors", with(func(w http.ResponseWriter, _ *http.Request, t TrustAnchor) { done(w, s.PutTrustAnchor(t)) }))
	mux.HandleFunc("PUT /_admin/profiles", with(func(w http.ResponseWriter, _ *http.Request, p Profile) { done(w, s.PutProfile(p)) }))
	return mux
}

func (s *Server) adminSession(w http.ResponseWriter, _ *http.Request, in struct {
	AccessKeyID     string `json:"accessKeyID"`
	SecretAccessKey string `json:"secretAccessKey"`
	SessionToken    string `json:"sessionToken"`
}) {
	session, ok := s.SessionOf(in.AccessKeyID, in.SecretAccessKey, in.SessionToken)
	if !ok {
		writeJSON(w, http.StatusNotFound, map[string]string{"error": "they are not the parts of one session"})
		return
	}
	writeJSON(w, http.StatusOK, session)
}

func (s *Server) adminSetFault(w http.ResponseWriter, _ *http.Request, f Fault) {
	id, err := s.SetFault(f)
	if err != nil {
		done(w, err)
		return
	}
	f.ID = id
	writeJSON(w, http.StatusCreated, f)
}

func (s *Server) adminListKeys(w http.ResponseWriter, r *http.Request) {
	keys := append([]AccessKey{}, s.AccessKeys(r.URL.Query().Get("user"))...)
	for i := range keys {
		keys[i].Secret = ""
	}
	writeJSON(w, http.StatusOK, keys)
}

func (s *Server) adminCreateKey(w http.ResponseWriter, _ *http.Request, in struct {
	UserARN string `json:"userARN"`
	Replace bool   `json:"replace"`
}) {
	create := s.CreateAccessKey
	if in.Replace {
		create = s.RotateAccessKeys
	}
	key, err := create(in.UserARN)
	if err != nil {
		done(w, err)
		return
	}
	writeJSON(w, http.StatusCreated, key)
}

func (s *Server) adminChangeKey(w http.ResponseWriter, r *http.Request, in struct {
	Inactive bool `json:"inactive"`
}) {
	done(w, s.SetAccessKeyActive(r.PathValue("id"), !in.Inactive))
}

func (s *Server) adminPutRole(w http.ResponseWriter, _ *http.Request, in struct {
	Account string `json:"account"`
	Role    Role   `json:"role"`
}) {
	done(w, s.PutRole(in.Account, in.Role))
}

func (s *Server) adminSetTrust(w http.ResponseWriter, _ *http.Request, in struct {
	RoleARN string  `json:"roleARN"`
	Trust   []Trust `json:"trust"`
}) {
	done(w, s.SetTrust(in.RoleARN, in.Trust...))
}

func (s *Server) adminPutDevice(w http.ResponseWriter, _ *http.Request, in struct {
	UserARN string    `json:"userARN"`
	Device  MFADevice `json:"device"`
}) {
	serial, err := s.PutMFADevice(in.UserARN, in.Device)
	if err != nil {
		done(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"serialNumber": serial})
}

func (s *Server) adminPutProvider(w http.ResponseWriter, _ *http.Request, in struct {
	Account  string       `json:"account"`
	Provider OIDCProvider `json:"provider"`
}) {
	providerARN, err := s.PutOIDCProvider(in.Account, in.Provider)
	if err != nil {
		done(w, err)
		return
	}
	writeJSON(w, http.StatusOK, map[string]string{"arn": providerARN})
}

// with decodes a handler's body. It rejects unknown fields.
func with[T any](handle func(http.ResponseWriter, *http.Request, T)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var in T
		dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&in); err != nil {
			done(w, err)
			return
		}
		handle(w, r, in)
	}
}

// done responds to a request without a result.
func done(w http.ResponseWriter, err error) {
	if err != nil {
		writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // it fails only if the caller is gone
}
